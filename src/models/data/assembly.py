"""A scene's clips and what was selected of them -> one example."""

from collections import defaultdict
from dataclasses import replace

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ...geometry.cameras import Cameras
from ...tokenizer.statistics import LatentStatistics
from .example import Example, Targets, unit_color
from .reading import ReadingConfig, SceneReader
from .sampling import Selection


def assemble(
    reader: SceneReader,
    selection: Selection,
    reading: ReadingConfig,
    statistics: LatentStatistics | None,
    scene_scale: float = 1.0,
) -> Example:
    """What was selected of a scene, read from disk.

    `scene_scale` multiplies translations; depth keeps the unit of its file, since the losses don't
    see its scale.

    Raises:
        InputError: naming the file that cannot be read or does not fit.
    """
    inputs = list(zip(selection.trajectories, selection.inputs, strict=True))
    cameras = [reader.cameras(name, frames) for name, frames in inputs]
    reference = cameras[0].c2w[0]
    placed = [_place(part, reference, scene_scale) for part in cameras]
    pictures = _read_pictures(reader, selection, reading)
    latents = video = None
    if reading.latents:
        latents = torch.stack(
            [reader.latents(name, len(frames), statistics) for name, frames in inputs]
        )
    else:
        clips = [unit_color(pictures.of(name, frames)) for name, frames in inputs]
        video = torch.stack(clips).transpose(1, 2) * 2 - 1
    targets = _read_targets(reader, selection, reading, pictures)
    times, time = _times(selection)
    return Example(
        key=reader.key,
        trajectories=selection.trajectories,
        cameras=_stack(placed),
        latents=latents,
        video=video,
        source_times=times,
        target_time=time,
        targets=replace(targets, cameras=_place(targets.cameras, reference, scene_scale)),
        target_frame=selection.time_frame,
    )


class _Pictures:
    """The pictures of a scene, every video decoded once."""

    def __init__(self, reader: SceneReader, wanted: dict[str, set[int]]) -> None:
        self._places = {
            name: {frame: place for place, frame in enumerate(sorted(frames))}
            for name, frames in wanted.items()
        }
        self._color = {name: reader.color(name, list(at)) for name, at in self._places.items()}

    def of(self, trajectory: str, frames: tuple[int, ...]) -> Shaped[Tensor, "frame 3 h w"]:
        """The pictures of `frames`, in this order."""
        places, color = self._places[trajectory], self._color[trajectory]
        if frames == tuple(places):
            return color
        return color[torch.tensor([places[frame] for frame in frames])]


def _read_pictures(reader: SceneReader, selection: Selection, reading: ReadingConfig) -> _Pictures:
    wanted: dict[str, set[int]] = defaultdict(set)
    if not reading.latents:
        for name, frames in zip(selection.trajectories, selection.inputs, strict=True):
            wanted[name].update(frames)
    if reading.color:
        for name in selection.target_trajectories:
            wanted[name].update(selection.target_frames)
    return _Pictures(reader, wanted)


def _read_targets(
    reader: SceneReader, selection: Selection, reading: ReadingConfig, pictures: _Pictures
) -> Targets:
    """The targets, their cameras still where the files have them."""
    frames, read_from = selection.target_frames, selection.target_trajectories
    names = _target_names(selection)
    # A trajectory may be drawn more than once: its files are read once.
    unique = dict.fromkeys(read_from)
    cameras = {name: reader.cameras(name, frames) for name in unique}
    color = depth = None
    if reading.color:
        color = torch.cat([pictures.of(name, frames) for name in read_from])
    if reading.depth:
        maps = {name: reader.depth(name, frames) for name in unique}
        depth = torch.cat([maps[name] for name in read_from])
    listed = names or selection.trajectories
    trajectory = torch.tensor([listed.index(name) for name in read_from])
    return Targets(
        cameras=Cameras.concatenate([cameras[name] for name in read_from]),
        trajectory=trajectory.repeat_interleave(len(frames)),
        frame=torch.tensor(frames).repeat(len(read_from)),
        color=color,
        depth=depth,
        names=names,
    )


def _target_names(selection: Selection) -> tuple[str, ...]:
    """The trajectories of the targets, each once; empty where all of them are inputs."""
    if set(selection.target_trajectories) <= set(selection.trajectories):
        return ()
    return tuple(dict.fromkeys(selection.target_trajectories))


def _times(selection: Selection) -> tuple[Float[Tensor, " frame"], float | None]:
    """Input and target times, from 0 for the earliest input frame to 1 for the latest."""
    frames = torch.tensor(selection.inputs[0], dtype=torch.float32)
    first = frames.min().item()
    # A clip of one frame has no length: its time is 0.
    span = max(frames.max().item() - first, 1.0)
    frame = selection.time_frame
    return (frames - first) / span, None if frame is None else (frame - first) / span


def _place(cameras: Cameras, reference: Float[Tensor, "4 4"], scale: float) -> Cameras:
    """The cameras as seen from `reference`, translations times `scale`."""
    relative = cameras.relative_to(reference)
    scaled = relative.c2w.clone()
    scaled[..., :3, 3] *= scale
    return replace(relative, c2w=scaled)


def _stack(parts: list[Cameras]) -> Cameras:
    """Cameras of equally long trajectories as [trajectory, frame]."""
    c2w = torch.stack([part.c2w for part in parts])
    intrinsics = torch.stack([part.intrinsics for part in parts])
    return Cameras(c2w, intrinsics, parts[0].width, parts[0].height)
