"""The files of one scene at one time: rendered here, written in the background."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..export.chosen import export_path, of_moments
from ..export.formats import export_scene
from ..gaussians import Gaussians
from ..io.atomic import atomic_path, remove, write_text
from ..io.cameras.file import CameraFile, write_camera_file
from ..io.image import write_png
from ..io.ply import read_ply, write_ply
from ..io.scene import CLIP_FPS, SplatScene
from ..io.video.joined import join_videos, write_segments
from ..io.video.video import write_video
from ..models.data.example import Example
from ..visualization import colorize_depth, depth_range, depth_wave, side_by_side
from .background import BackgroundWriter, HostCopy, aside
from .clock import clocked
from .config import File, OutputTree, ReconstructConfig
from .finished import SceneRecord, made_from_path, meta_text, read_record
from .pictures import (
    QUALITY,
    References,
    RenderedTrajectory,
    render_trajectories,
    scene_sheet,
    trajectory_quality,
    write_quality,
)

# Returns frames on the CPU; called in a job of the writer.
Frames = Callable[[], UInt8[Tensor, "_ h w 3"]]


@dataclass
class SceneResults:
    """A scene at the time of its example, with its Gaussians, and the tree for its files."""

    config: ReconstructConfig
    writer: BackgroundWriter
    tree: OutputTree
    index: int
    example: Example
    references: References
    gaussians: Gaussians
    written: list[Path] = field(default_factory=list)
    record: SceneRecord = field(init=False)

    def write(self, made_from: Mapping[str, object]) -> list[Path]:
        """Renders the scene and queues its files, the mark of a finished scene last; returns them.

        Files that a stopped run wrote from the same inputs and settings (`made_from`) stay, unless
        everything is to be made again.
        """
        output, key = self.config.output, self.example.key
        meta = self.tree.path(File.META, self.index)
        path = made_from_path(output, self.tree, self.index, key=key)
        # While files change, nothing may say that the scene is finished.
        remove(meta)
        keep = output.finished != "remake"
        self.record = SceneRecord.begin(path, self.tree.root, made_from, keep=keep)
        if output.eval_only:
            # One video a trajectory and nothing else, so no depth pass.
            for part in self._render(depth=False):
                self._queue_video(File.EVALUATION, [HostCopy(part.color)], part.position)
        else:
            self._queue_scene()
        self.written.append(path)
        self.writer.submit_last(self.record.finish)
        if not output.eval_only:
            self.written.append(meta)
            self.writer.submit_last(partial(write_text, meta, meta_text(key)))
        return self.written

    def _queue_scene(self) -> None:
        """Queues all files; only rendering and depth colours are computed in this thread."""
        self._queue_gaussians()
        rendered: list[RenderedTrajectory] = []
        frames: list[Frames] = []
        with clocked("render"):
            for part in self._render(self.config.render.depth):
                rendered.append(part)
                # The writer starts on this trajectory while the next one is rendered.
                frames.append(HostCopy(part.color))
                self._queue_video(File.TRAJECTORY, frames[-1:], part.position)
        with clocked("colour depths"):
            # The longest video first.
            self._queue_full(rendered, frames)
            wave = HostCopy(depth_wave(rendered[0].color[0], _depth(rendered[0])[0]))
        self._queue_video(File.WAVE, [wave])
        files = [self._path(File.TRAJECTORY, part.position) for part in rendered]
        parts = [self._path(File.WAVE), *files]
        self._queue(File.MAIN, lambda path: join_videos(path, parts), last=True)
        self._queue_quality(rendered)
        if self.config.output.sheet:
            source, color = self.references.source, self.references.color
            self._queue(
                File.SHEET, lambda path: write_png(path, scene_sheet(source, rendered, color))
            )

    def _queue_gaussians(self) -> None:
        output, gaussians = self.config.output, self.gaussians
        if output.writes_ply:
            self._queue(File.PLY, lambda path: write_ply(path, gaussians, output.ply_padded))
        # A moving scene's formats of all moments are written when all moments are there.
        later = of_moments(output.other_formats) if self.config.scenes.times else []
        for name in output.other_formats:
            if name not in later:
                path = export_path(self.tree.path(File.EXPORT, self.index), name)
                self._queue_path(path, partial(_write_export, gaussians=gaussians, name=name))
        if output.tensor:
            self._queue(File.TENSOR, lambda path: _write_tensor(path, gaussians))
        if output.cameras:
            cameras = self.example.cameras
            c2w, intrinsics = cameras.c2w.flatten(0, 1), cameras.intrinsics.flatten(0, 1)
            flat = replace(cameras, c2w=c2w, intrinsics=intrinsics)
            # Without times, which start again with every trajectory.
            contents = CameraFile(flat, float(output.fps))
            self._queue(File.CAMERAS, lambda path: write_camera_file(path, contents))

    def _queue_full(self, rendered: Sequence[RenderedTrajectory], frames: Sequence[Frames]) -> None:
        """Queues renderings, references and depths side by side; an odd-sized input by itself."""
        output, references = self.config.output, self.references
        columns: list[Sequence[Frames]] = [frames]
        if output.reference and references.color is not None:
            columns.append([partial(references.color.__getitem__, p.targets) for p in rendered])
        clips = references.input
        if clips is not None:
            lengths = [len(part.color) for part in rendered]
            if clips.shape == (sum(lengths), *rendered[0].color.shape[1:]):
                columns.append([HostCopy(clip) for clip in clips.split(lengths)])
            else:
                self._queue_video(File.INPUT, [HostCopy(clips)])
        columns.append(_depth_colors([_depth(part) for part in rendered]))
        if output.reference_depth and references.depth is not None:
            columns.append(_depth_colors([references.depth[part.targets] for part in rendered]))
        # Joined trajectory by trajectory while the video is written.
        rows = [partial(_joined, parts) for parts in zip(*columns, strict=True)]
        self._queue_video(File.FULL, rows)

    def _queue_quality(self, rendered: Sequence[RenderedTrajectory]) -> None:
        color, example = self.references.color, self.example
        if not self.config.output.metrics or color is None:
            return
        compared = example.comparable()
        parts = [part for part in rendered if compared[part.targets].any()]

        def write(path: Path) -> None:
            found = [trajectory_quality(part, color, example) for part in parts]
            write_quality(path, example.key, [frame for part in found for frame in part])

        if parts:
            self._queue(File.METRICS, write)

    def _render(self, depth: bool) -> Iterator[RenderedTrajectory]:
        options = replace(self.config.render, depth=depth)
        targets, backend = self.example.targets, self.config.rasterizer
        return render_trajectories(self.gaussians, targets, options, backend=backend)

    def _queue_video(self, file: File, batches: Sequence[Frames], position: int = 0) -> None:
        fps, on_gpu = self.config.output.fps, self.gaussians.device.type == "cuda"

        def write(path: Path) -> None:
            if on_gpu:
                write_segments(path, batches, fps, quality=QUALITY)
            else:
                write_video(path, (batch() for batch in batches), fps, quality=QUALITY)

        self._queue(file, write, position)

    def _path(self, file: File, position: int = 0) -> Path:
        scene = self.example.key if self.config.output.eval_only else self.index
        return self.tree.path(file, scene, position)

    def _queue(
        self, file: File, write: Callable[[Path], object], position: int = 0, last: bool = False
    ) -> None:
        """Queues the job that writes a file, unless the file is there from a stopped run.

        The `last` jobs begin when all files queued before are written.
        """
        self._queue_path(self._path(file, position), write, last)

    def _queue_path(self, path: Path, write: Callable[[Path], object], last: bool = False) -> None:
        self.written.append(path)
        if path not in self.record.kept:
            job = aside(self.gaussians.device, partial(self.record.add, path, write))
            submit = self.writer.submit_last if last else self.writer.submit
            submit(job)


def export_moments(config: ReconstructConfig, trees: Mapping[int, OutputTree], index: int) -> None:
    """Writes the formats that hold all moments of a scene, above the folders of its times.

    They are made of the finished scenes' PLYs. Files of the same moments stay, and a scene that was
    left out at one of its times gets none.
    """
    times = sorted(trees)
    names, root = of_moments(config.output.other_formats), trees[times[0]].root.parent
    if not names or not all(trees[time].path(File.META, index).is_file() for time in times):
        return
    records = [read_record(trees[time].path(File.MADE_FROM, index)) for time in times]
    moments = [record["made_from"] for record in records]
    path, keep = OutputTree(root).path(File.MADE_FROM, index), config.output.finished != "remake"
    record = SceneRecord.begin(path, root, {"moments": moments}, keep=keep)
    files = {export_path(OutputTree(root).path(File.EXPORT, index), name): name for name in names}
    missing = files.keys() - record.kept
    if missing:
        plys = [read_ply(trees[time].path(File.PLY, index)) for time in times]
        scene = SplatScene(tuple(plys), tuple(time / CLIP_FPS for time in times))
        for file in sorted(missing):
            record.add(file, lambda path, name=files[file]: export_scene(scene, path, name))
        record.finish()


def _write_export(path: Path, gaussians: Gaussians, name: str) -> None:
    scene = SplatScene((gaussians.to("cpu").to(torch.float32),), (0.0,))
    export_scene(scene, path, name)


def _depth(rendered: RenderedTrajectory) -> Float[Tensor, "frame h w"]:
    assert rendered.depth is not None, "rendered without depth"
    return rendered.depth


def _depth_colors(parts: Sequence[Float[Tensor, "_ h w"]]) -> list[Frames]:
    """Returns depths as colours, on one scale for all parts."""
    limits = depth_range(torch.cat(list(parts)))
    return [HostCopy(colorize_depth(part, limits)) for part in parts]


def _joined(columns: Sequence[Frames]) -> UInt8[Tensor, "frame h _ 3"]:
    return side_by_side([column() for column in columns])


def _write_tensor(path: Path, gaussians: Gaussians) -> None:
    """Writes the packed Gaussians as a batch of one, in bfloat16."""
    with atomic_path(path) as temporary:
        torch.save(gaussians.packed()[None].to(torch.bfloat16).cpu(), temporary)
