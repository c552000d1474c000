"""Depth estimates of a backend.

An estimate is of a picture, or of the frames of a still camera's video. Depth is z-depth (along the
optical axis, not along the ray) in the backend's own unit.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..geometry.fit import WHOLE, Region
from ..runtime import InputError

# Across the longer side; between a telephone's main camera and a normal lens.
ASSUMED_FIELD_OF_VIEW = 60.0


@dataclass(frozen=True)
class DepthEstimate:
    """Depth, maybe infinite outside of `mask`, and intrinsics in its pixels.

    Frames of a video have one scale and one camera.
    """

    depth: Float[Tensor, "*frame h w"]
    mask: Bool[Tensor, "*frame h w"]
    intrinsics: Float[Tensor, "4"]

    def __post_init__(self) -> None:
        if self.mask.shape != self.depth.shape:
            expected = f"the depth's shape {tuple(self.depth.shape)}"
            raise InputError("depth mask", f"shape {tuple(self.mask.shape)}", expected)
        focal = self.intrinsics[:2]
        if not (torch.isfinite(self.intrinsics).all() and (focal > 0).all()):
            value = self.intrinsics.tolist()
            raise InputError("intrinsics of a depth map", value, "finite values, fx and fy > 0")

    def frame(self, index: int) -> "DepthEstimate":
        """The depth of one frame of a video."""
        return DepthEstimate(self.depth[index], self.mask[index], self.intrinsics)


def clamp_depth(depth: Float[Tensor, "*shape"], far: float) -> Float[Tensor, "*shape"]:
    """Depth in [0, `far`] without NaN: NaN and +inf become `far`, negative values 0."""
    return depth.nan_to_num(nan=far).clamp(0, far)


def assumed_intrinsics(height: int, width: int, region: Region = WHOLE) -> Float[Tensor, "4"]:
    """Intrinsics in pixels of a region of a picture whose lens is not known.

    They assume 60 degrees across the longer side of the whole picture, and its middle as the axis.
    """
    left, top, right, bottom = region
    whole_width, whole_height = width / (right - left), height / (bottom - top)
    half = math.radians(ASSUMED_FIELD_OF_VIEW) / 2
    focal = max(whole_width, whole_height) / (2 * math.tan(half))
    centre = ((0.5 - left) * whole_width, (0.5 - top) * whole_height)
    return torch.tensor([focal, focal, *centre])
