"""The options of a rendering, and its result."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from ..runtime import InputError

Mode = Literal["3dgut", "ewa"]
MODES: tuple[Mode, ...] = ("3dgut", "ewa")


@dataclass(frozen=True, kw_only=True)
class RasterizeOptions:
    """Mode, background and depth range of a rendering.

    `3dgut` evaluates each Gaussian in 3D along the pixel's ray; an unscented projection, which
    passes no gradient, only finds the tiles that a Gaussian may touch. `ewa` blends the 2D
    Gaussians of a local affine projection. Means nearer than `near` or farther than `far` (world
    units along the camera's z axis) are dropped. Without `depth` the depth is all zero.

    Raises:
        InputError: an unknown mode, or not 0 < near < far.
    """

    mode: Mode = "3dgut"
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    near: float = 0.1
    far: float = 500.0
    depth: bool = True

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise InputError("mode of the rasterizer", repr(self.mode), f"one of {MODES}")
        if not 0 < self.near < self.far:
            value = f"{self.near} and {self.far}"
            raise InputError("near and far depth of renderings", value, "0 < near < far")


DEFAULTS = RasterizeOptions()


@dataclass(frozen=True)
class Render:
    """Rendered frames: RGB on the background, opacity 1 - T in [0, 1], and depth.

    Depth is the camera z of the Gaussians' means in world units, averaged with the blending
    weights; 0 where alpha is 0.
    """

    color: Float[Tensor, "frame 3 height width"]
    alpha: Float[Tensor, "frame 1 height width"]
    depth: Float[Tensor, "frame 1 height width"]

    @staticmethod
    def concatenate(parts: "Sequence[Render]") -> "Render":
        """The frames of all parts in a row."""
        return Render(
            torch.cat([part.color for part in parts]),
            torch.cat([part.alpha for part in parts]),
            torch.cat([part.depth for part in parts]),
        )
