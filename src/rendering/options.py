"""What a rasteriser can be asked for, beside the Gaussians and the cameras."""

from dataclasses import dataclass
from typing import Literal

Mode = Literal["3dgut", "ewa"]
MODES: tuple[Mode, ...] = ("3dgut", "ewa")


@dataclass(frozen=True)
class RasterizeOptions:
    """Mode, background and depth range of a rendering.

    `3dgut` evaluates each Gaussian in 3D along the pixel's ray and lets an unscented projection
    only decide which Gaussians and tiles meet (no gradient through the projection). `ewa` blends
    the 2D Gaussians of a local affine projection. Means nearer than `near` or farther than `far`
    (world units along the camera's z axis) are dropped. Without `depth` the depth is all zero.
    """

    mode: Mode = "3dgut"
    background: tuple[float, float, float] = (1.0, 1.0, 1.0)
    near: float = 0.1
    far: float = 500.0
    depth: bool = True

    def __post_init__(self) -> None:
        assert self.mode in MODES, f"mode of {MODES} expected, got {self.mode!r}"
        assert 0 < self.near < self.far, f"0 < near < far expected, got {self.near}, {self.far}"


DEFAULTS = RasterizeOptions()
