"""Reads the selected clips and frames of a scene and puts them together as one example."""

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

# Trajectory -> frame numbers in ascending order, and their pictures [frame, 3, h, w].
Pictures = dict[str, tuple[tuple[int, ...], Tensor]]


def assemble(
    reader: SceneReader,
    selection: Selection,
    reading: ReadingConfig,
    statistics: LatentStatistics | None,
    scene_scale: float = 1.0,
) -> Example:
    """Reads the selected parts of a scene from disk.

    `scene_scale` multiplies translations. Depth keeps the unit of its file: the losses ignore its
    scale.

    Raises:
        InputError: a file that cannot be read or does not fit, by name.
    """
    inputs = list(zip(selection.trajectories, selection.inputs, strict=True))
    cameras = [reader.cameras(name, frames) for name, frames in inputs]
    reference = cameras[0].c2w[0]
    pictures = _read_pictures(reader, selection, reading)
    latents = video = None
    if reading.latents:
        latents = torch.stack(
            [reader.latents(name, len(frames), statistics) for name, frames in inputs]
        )
    else:
        clips = [unit_color(_chosen(pictures, name, frames)) for name, frames in inputs]
        video = torch.stack(clips).transpose(1, 2) * 2 - 1
    targets = _read_targets(reader, selection, reading, pictures=pictures)
    # Times run from the earliest input frame to the latest; a clip of one frame has time 0.
    frames = torch.tensor(selection.inputs[0], dtype=torch.float32)
    first, frame = frames.min().item(), selection.time_frame
    span = max(frames.max().item() - first, 1.0)
    return Example(
        key=reader.key,
        trajectories=selection.trajectories,
        cameras=Cameras.stack([_place(part, reference, scene_scale) for part in cameras]),
        latents=latents,
        video=video,
        source_times=(frames - first) / span,
        target_time=None if frame is None else (frame - first) / span,
        targets=replace(targets, cameras=_place(targets.cameras, reference, scene_scale)),
        target_frame=frame,
    )


def _read_pictures(reader: SceneReader, selection: Selection, reading: ReadingConfig) -> Pictures:
    """Decodes each video once, the frames that inputs and targets need."""
    wanted: dict[str, set[int]] = defaultdict(set)
    if not reading.latents:
        for name, frames in zip(selection.trajectories, selection.inputs, strict=True):
            wanted[name].update(frames)
    if reading.color:
        for name in selection.target_trajectories:
            wanted[name].update(selection.target_frames)
    ordered = {name: tuple(sorted(frames)) for name, frames in wanted.items()}
    return {name: (frames, reader.color(name, frames)) for name, frames in ordered.items()}


def _chosen(
    pictures: Pictures, trajectory: str, frames: tuple[int, ...]
) -> Shaped[Tensor, "frame 3 h w"]:
    """Returns the pictures of `frames` in this order, without a copy if these are all."""
    known, color = pictures[trajectory]
    return color if frames == known else color[[known.index(frame) for frame in frames]]


def _read_targets(
    reader: SceneReader, selection: Selection, reading: ReadingConfig, pictures: Pictures
) -> Targets:
    """Reads the targets, with their cameras as the files have them."""
    frames, read_from = selection.target_frames, selection.target_trajectories
    # A trajectory may be drawn more than once: its files are read once.
    unique = tuple(dict.fromkeys(read_from))
    cameras = {name: reader.cameras(name, frames) for name in unique}
    color = depth = None
    if reading.color:
        color = torch.cat([_chosen(pictures, name, frames) for name in read_from])
    if reading.depth:
        maps = {name: reader.depth(name, frames) for name in unique}
        depth = torch.cat([maps[name] for name in read_from])
    names = () if set(unique) <= set(selection.trajectories) else unique
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


def _place(cameras: Cameras, reference: Float[Tensor, "4 4"], scale: float) -> Cameras:
    """Returns the cameras relative to `reference`, translations times `scale`."""
    relative = cameras.relative_to(reference)
    scaled = relative.c2w.clone()
    scaled[..., :3, 3] *= scale
    return replace(relative, c2w=scaled)
