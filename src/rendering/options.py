"""What a rasteriser can be asked for, beside the Gaussians and the cameras."""

from dataclasses import dataclass
from typing import Literal

from ..runtime import InputError

Mode = Literal["3dgut", "ewa"]
MODES: tuple[Mode, ...] = ("3dgut", "ewa")


@dataclass(frozen=True)
class RasterizeOptions:
    """Mode, background and depth range of a rendering.

    `3dgut` evaluates each Gaussian in 3D along the pixel's ray and lets an unscented projection
    only decide which Gaussians and tiles meet (no gradient through the projection). `ewa` blends
    the 2D Gaussians of a local affine projection. Means nearer than `near` or farther than `far`
    (world units along the camera's z axis) are dropped. Without `depth` the depth is all zero.

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
