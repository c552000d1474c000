"""Everything that is written of one scene at one time: rendered here, written in the background."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..gaussians import Gaussians
from ..geometry.cameras import Cameras
from ..io.atomic import atomic_path, remove
from ..io.cameras.file import CameraFile, write_camera_file
from ..io.image.image import write_png
from ..io.ply.ply import write_ply
from ..io.video.video import write_video
from ..models.data.example import Example
from ..rendering.options import RasterizeOptions
from ..rendering.rasterize import Backend
from ..runtime import InputError
from ..visualization.depth import colorize_depth, depth_range, depth_wave
from ..visualization.sheet import side_by_side
from .background import BackgroundWriter
from .claims import settle
from .finished import made_from_path
from .outputs import OutputConfig, OutputTree, meta_text
from .pictures.sheet import scene_sheet
from .quality import FrameQuality, trajectory_quality, write_quality
from .record import SceneRecord
from .references import References
from .rendering import RenderedTrajectory, render_trajectories

# Of 10; the published quality.
QUALITY = 5


@dataclass(frozen=True)
class DecodedScene:
    """A scene at the time of its example, and its Gaussians."""

    index: int
    example: Example
    references: References
    gaussians: Gaussians


@dataclass
class SceneResults:
    """Renders scenes and queues what is to be written of them.

    `record` is that of the latest scene, `written` all files of the run.
    """

    config: OutputConfig
    options: RasterizeOptions
    backend: Backend
    writer: BackgroundWriter
    written: list[Path] = field(default_factory=list)
    # The files of each scene that was queued, with its tree and its number.
    scenes: list[tuple[OutputTree, int, tuple[Path, ...]]] = field(default_factory=list)
    record: SceneRecord = field(init=False)

    def write(self, scene: DecodedScene, tree: OutputTree, made_from: Mapping[str, object]) -> None:
        """Render a scene and queue all of its files, the one that says "finished" last.

        `made_from` is kept beside them, with their names. Files that a run which was stopped has
        written from the same stay, unless everything is to be made again.

        Raises:
            UnwritableError: what an earlier run left cannot be removed.
        """
        key, meta = scene.example.key, tree.meta(scene.index)
        path = made_from_path(self.config, tree, scene.index, key)
        # While files change, nothing says that the scene is finished.
        remove(meta)
        keep = self.config.finished != "remake"
        record = self.record = SceneRecord.begin(path, tree.root, made_from, keep)
        before = len(self.written)
        if self.config.eval_only:
            self._queue_evaluation(scene, tree)
        else:
            self._queue_scene(scene, tree)
        self.written.append(path)
        self.writer.submit(record.finish)
        if not self.config.eval_only:
            self.written.append(meta)
            self.writer.submit(partial(_write_text, meta, meta_text(key)))
        self.scenes.append((tree, scene.index, tuple(self.written[before:])))

    def check_written(self) -> None:
        """Refuse to end well where a file that was written is gone.

        Raises:
            InputError: it is; names the first one.
        """
        gone = [path for scene in self.scenes for path in settle(*scene)]
        if gone:
            raise InputError(gone[0], f"{len(gone)} files are gone", "results that nobody removes")

    def _submit(self, path: Path, job: Callable[[], object]) -> None:
        """Queue a job that writes `path`, a file of the latest scene, if it is not there."""
        self.written.append(path)
        if path not in self.record.kept:
            self.writer.submit(partial(_write_and_note, job, self.record, path))

    def _queue_scene(self, scene: DecodedScene, tree: OutputTree) -> None:
        self._queue_gaussians(scene, tree)
        rendered, frames = [], []
        for part in self._render(scene, self.options):
            rendered.append(part)
            # The writer starts on this trajectory while the next one is rendered.
            frames.append(part.color.cpu())
            self._queue_video(tree.trajectory(scene.index, part.position), frames[-1:])
        wave = _wave(rendered[0])
        self._queue_video(tree.wave(scene.index), [wave])
        self._queue_video(tree.main(scene.index), [wave, *frames])
        self._queue_full(scene, tree, rendered, frames)
        self._queue_quality(scene, tree, rendered)
        if self.config.sheet:
            references = scene.references
            sheet = scene_sheet(references.source, rendered, references.color)
            path = tree.sheet(scene.index)
            self._submit(path, partial(write_png, path, sheet))

    def _queue_evaluation(self, scene: DecodedScene, tree: OutputTree) -> None:
        """One video a trajectory and nothing else, hence no depth pass."""
        for part in self._render(scene, replace(self.options, depth=False)):
            path = tree.evaluation(scene.example.key, part.position)
            self._queue_video(path, [part.color.cpu()])

    def _queue_gaussians(self, scene: DecodedScene, tree: OutputTree) -> None:
        index, gaussians = scene.index, scene.gaussians
        if self.config.ply:
            path = tree.ply(index)
            self._submit(path, partial(write_ply, path, gaussians, self.config.ply_padded))
        if self.config.tensor:
            self._submit(tree.tensor(index), partial(_write_tensor, tree.tensor(index), gaussians))
        if self.config.cameras:
            # Without times, which start again with every trajectory.
            contents = CameraFile(_flat(scene.example.cameras), float(self.config.fps))
            path = tree.cameras(index)
            self._submit(path, partial(write_camera_file, path, contents))

    def _queue_full(
        self,
        scene: DecodedScene,
        tree: OutputTree,
        rendered: Sequence[RenderedTrajectory],
        frames: Sequence[UInt8[Tensor, "_ h w 3"]],
    ) -> None:
        """Renderings, references and depths side by side; the input apart where it doesn't fit."""
        references = scene.references
        columns = [frames]
        if self.config.reference and references.color is not None:
            columns.append([references.color[part.targets] for part in rendered])
        clips = references.input
        if clips is not None:
            lengths = [len(batch) for batch in frames]
            if clips.shape == (sum(lengths), *frames[0].shape[1:]):
                columns.append(clips.split(lengths))
            else:
                self._queue_video(tree.input(scene.index), [clips])
        columns.append(_depth_colors([_depth(part) for part in rendered]))
        if self.config.reference_depth and references.depth is not None:
            columns.append(_depth_colors([references.depth[part.targets] for part in rendered]))
        # Put together batch by batch while it is written.
        rows = map(side_by_side, zip(*columns, strict=True))
        self._queue_video(tree.full(scene.index), rows)

    def _queue_quality(
        self, scene: DecodedScene, tree: OutputTree, rendered: Sequence[RenderedTrajectory]
    ) -> None:
        color = scene.references.color
        if not self.config.metrics or color is None:
            return
        figures: list[FrameQuality] = []
        for part in rendered:
            figures += trajectory_quality(part, color, scene.example)
        if figures:
            path = tree.metrics(scene.index)
            self._submit(path, partial(write_quality, path, scene.example.key, figures))

    def _render(
        self, scene: DecodedScene, options: RasterizeOptions
    ) -> Iterator[RenderedTrajectory]:
        return render_trajectories(scene.gaussians, scene.example.targets, options, self.backend)

    def _queue_video(self, path: Path, batches: Iterable[UInt8[Tensor, "_ h w 3"]]) -> None:
        self._submit(path, partial(write_video, path, iter(batches), self.config.fps, QUALITY))


def _write_and_note(job: Callable[[], object], record: SceneRecord, path: Path) -> None:
    job()
    record.add(path)


def _wave(rendered: RenderedTrajectory) -> UInt8[Tensor, "wave h w 3"]:
    """The depth wave through the first frame."""
    return depth_wave(rendered.color[0], _depth(rendered)[0]).cpu()


def _depth(rendered: RenderedTrajectory) -> Float[Tensor, "frame h w"]:
    assert rendered.depth is not None, "rendered without depth"
    return rendered.depth


def _depth_colors(parts: Sequence[Float[Tensor, "_ h w"]]) -> list[UInt8[Tensor, "_ h w 3"]]:
    """Depths as colours on the CPU, on one scale for all parts."""
    limits = depth_range(torch.cat(list(parts)))
    return [colorize_depth(part, limits).cpu() for part in parts]


def _flat(cameras: Cameras) -> Cameras:
    """The cameras of all trajectories, one after another."""
    c2w, intrinsics = cameras.c2w.flatten(0, 1), cameras.intrinsics.flatten(0, 1)
    return replace(cameras, c2w=c2w, intrinsics=intrinsics)


def _write_tensor(path: Path, gaussians: Gaussians) -> None:
    """The packed Gaussians as a batch of one, in bfloat16."""
    with atomic_path(path) as temporary:
        torch.save(gaussians.packed()[None].to(torch.bfloat16).cpu(), temporary)


def _write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
