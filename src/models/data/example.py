"""One scene as the decoder sees it: its input clips, and the frames that it is asked to render.

Trajectories are in the order in which they were selected, which matters to the decoder. All poses
are relative to the first input frame of the first trajectory.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int, Shaped, UInt8
from torch import Tensor

from ...geometry.cameras import Cameras
from ...runtime import InputError

T = TypeVar("T")


def unit_color(
    color: UInt8[Tensor, "*batch 3 h w"] | Float[Tensor, "*batch 3 h w"],
) -> Float[Tensor, "*batch 3 h w"]:
    """Colours as numbers in [0, 1], whether they are stored as these or as 0 ... 255."""
    return color / 255 if color.dtype == torch.uint8 else color


@dataclass(frozen=True)
class Targets:
    """The frames that are rendered, and what is known of them, trajectory by trajectory.

    `trajectory` holds positions in `names`, or in the example's trajectories where `names` is
    empty. `frame` is the frame on disk that gave camera, colour and depth. Colours are uint8 as
    decoded, or in [0, 1] where they had to be resized: see `unit_color`. Depth is z-depth in the
    unit of the file, 0 where it is unknown.
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
        """The same targets on another device."""
        return Targets(
            self.cameras.to(device),
            self.trajectory.to(device),
            self.frame.to(device),
            _if_there(self.color, lambda color: color.to(device)),
            _if_there(self.depth, lambda depth: depth.to(device)),
            self.names,
        )


@dataclass(frozen=True)
class Example:
    """One scene: inputs as latents or as pictures, their cameras and times, and the targets.

    `cameras` is [trajectory, frame], `latents` are raw (not normalised), `video` lies in [-1, 1].
    Times run from 0, the first input frame, to 1, the last. Dynamic scenes have a `target_time`
    and the frame of that time; it is the one moment that the Gaussians show.
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
        """The targets whose picture shows what is rendered.

        All of a static scene. When a dynamic scene is rendered at one time from the cameras of all
        frames, the pictures on disk move on: only those of the target frame can be compared.
        """
        if self.target_frame is None:
            return torch.ones_like(self.targets.frame, dtype=torch.bool)
        return self.targets.frame == self.target_frame

    def at_time(self, frame: int) -> "Example":
        """The same example at the time of another input frame; cameras and pictures stay.

        Raises:
            InputError: a frame that is not there.
        """
        last = len(self.source_times) - 1
        if not 0 <= frame <= last:
            raise InputError("target frame", frame, f"a frame between 0 and {last}")
        return replace(self, target_frame=frame, target_time=self.source_times[frame].item())

    def to(self, device: torch.device | str) -> "Example":
        """The same example on another device."""
        return replace(
            self,
            cameras=self.cameras.to(device),
            latents=_if_there(self.latents, lambda latents: latents.to(device)),
            video=_if_there(self.video, lambda video: video.to(device)),
            source_times=self.source_times.to(device),
            targets=self.targets.to(device),
        )


def _if_there(
    tensor: Shaped[Tensor, "..."] | None, change: Callable[[Tensor], Tensor]
) -> Tensor | None:
    return None if tensor is None else change(tensor)
