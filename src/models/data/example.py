"""One scene as the decoder sees it: its input clips, and the frames that it has to render.

Trajectories keep the order in which they were selected, which matters to the decoder. All poses
are relative to the first input frame of the first trajectory.
"""

from collections import defaultdict
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

from ...geometry.cameras import Cameras
from ...runtime import InputError
from ...tokenizer.cosmos import LatentStatistics
from .reading import ReadingConfig, SceneReader
from .sampling import Selection

Part = TypeVar("Part", "Targets", "Example")
# Trajectory -> frame numbers in ascending order, and their pictures [frame, 3, h, w].
Pictures = dict[str, tuple[tuple[int, ...], Tensor]]


def unit_color(
    color: UInt8[Tensor, "*batch 3 h w"] | Float[Tensor, "*batch 3 h w"],
) -> Float[Tensor, "*batch 3 h w"]:
    """Returns colours in [0, 1], for bytes and for floats that are in [0, 1] already."""
    return color / 255 if color.dtype == torch.uint8 else color


@dataclass(frozen=True)
class Targets:
    """The frames to render, trajectory by trajectory, with the known colour and depth.

    `trajectory` indexes `names`, or the example's trajectories where `names` is empty; `frame` is
    the frame number on disk. Colours are uint8 as decoded, or floats in [0, 1] if they were resized
    (`unit_color` takes both). Depth is z-depth in the unit of the file, 0 where unknown.
    """

    cameras: Cameras
    trajectory: Int[Tensor, " target"]
    frame: Int[Tensor, " target"]
    color: UInt8[Tensor, "target 3 h w"] | Float[Tensor, "target 3 h w"] | None = None
    depth: Float[Tensor, "target h w"] | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.frame)

    def to(self, device: torch.device | str) -> "Targets":
        """Returns the targets on another device."""
        return _moved(self, device)

    def pin_memory(self) -> "Targets":
        """Returns the targets in page-locked memory, from where a GPU copies by itself."""
        return _pinned(self)


@dataclass(frozen=True)
class Example:
    """One scene: inputs as latents or as pictures, their cameras and times, and the targets.

    `cameras` is [trajectory, frame], `latents` are raw (not normalised), `video` is in [-1, 1].
    Times run from 0 at the first input frame to 1 at the last. A dynamic scene has a `target_time`,
    the one moment that the Gaussians show, and its `target_frame`.
    """

    key: str
    trajectories: tuple[str, ...]
    cameras: Cameras
    latents: Float[Tensor, "traj channel latent_frame lh lw"] | None
    video: Float[Tensor, "traj 3 frame h w"] | None
    source_times: Float[Tensor, " frame"]
    target_time: float | None
    targets: Targets
    target_frame: int | None = None

    def comparable(self) -> Bool[Tensor, " target"]:
        """Returns which targets have a picture on disk that shows the moment of the rendering.

        All of a static scene. A dynamic scene may be rendered at one time from the cameras of all
        frames; then only the pictures of the target frame can be compared.
        """
        if self.target_frame is None:
            return torch.ones_like(self.targets.frame, dtype=torch.bool)
        return self.targets.frame == self.target_frame

    def at_time(self, frame: int) -> "Example":
        """Returns the example at the time of another input frame; `InputError` if there is none."""
        last = len(self.source_times) - 1
        if not 0 <= frame <= last:
            raise InputError("target frame", frame, f"a frame between 0 and {last}")
        return replace(self, target_frame=frame, target_time=self.source_times[frame].item())

    def to(self, device: torch.device | str) -> "Example":
        """Returns the example on another device."""
        return _moved(self, device)

    def pin_memory(self) -> "Example":
        """Returns the example with its pictures and latents in page-locked memory."""
        return _pinned(self)


def _moved(part: Part, device: torch.device | str) -> Part:
    """Returns the part on another device; a GPU may still copy what is page-locked."""
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    # The host must not read before a copy to it has ended.
    beside = torch.device(device).type != "cpu"
    moved = {
        name: v.to(device, non_blocking=beside) if isinstance(v, Tensor) else v.to(device)
        for name, v in values.items()
        if isinstance(v, Tensor | Cameras | Targets)
    }
    return replace(part, **moved)


def _pinned(part: Part) -> Part:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    pinned = {name: v.pin_memory() for name, v in values.items() if isinstance(v, Tensor | Targets)}
    return replace(part, **pinned)


def assemble(
    reader: SceneReader,
    selection: Selection,
    reading: ReadingConfig,
    statistics: LatentStatistics | None,
    scene_scale: float = 1.0,
) -> Example:
    """Reads the selected parts of a scene from disk.

    `scene_scale` multiplies translations. Depth keeps the unit of its file: the losses ignore its
    scale. Raises `InputError` for a file that cannot be read or does not fit, by name.
    """
    inputs = list(zip(selection.trajectories, selection.inputs, strict=True))
    cameras, reference = input_cameras(reader, selection, scene_scale)
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
        cameras=cameras,
        latents=latents,
        video=video,
        source_times=(frames - first) / span,
        target_time=None if frame is None else (frame - first) / span,
        targets=replace(targets, cameras=_place(targets.cameras, reference, scene_scale)),
        target_frame=frame,
    )


def input_cameras(
    reader: SceneReader, selection: Selection, scene_scale: float
) -> tuple[Cameras, Float[Tensor, "4 4"]]:
    """Returns the cameras [trajectory, frame] of the inputs as an example has them.

    The second value is the pose in the files, camera-to-world, to which they are relative.
    """
    inputs = zip(selection.trajectories, selection.inputs, strict=True)
    cameras = [reader.cameras(name, frames) for name, frames in inputs]
    reference = cameras[0].c2w[0]
    return Cameras.stack([_place(part, reference, scene_scale) for part in cameras]), reference


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
