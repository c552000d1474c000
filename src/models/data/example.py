"""One scene as the decoder sees it: its input clips, and the frames that it has to render.

Trajectories keep the order in which they were selected, which matters to the decoder. All poses
are relative to the first input frame of the first trajectory.
"""

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ...geometry.cameras import Cameras
from ...runtime import InputError

Part = TypeVar("Part", "Targets", "Example")


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


def _moved(part: Part, device: torch.device | str) -> Part:
    values = {field.name: getattr(part, field.name) for field in fields(part)}
    movable = (Tensor, Cameras, Targets)
    moved = {name: v.to(device) for name, v in values.items() if isinstance(v, movable)}
    return replace(part, **moved)
