"""What every depth backend returns for one image.

Depth is z-depth (along the optical axis, not along the ray) in the backend's own unit.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..runtime import InputError


@dataclass(frozen=True)
class DepthEstimate:
    """Depth of one image, where it can be trusted, and the camera that goes with it.

    Depth may be infinite where `mask` is false. Intrinsics are in pixels of the depth map.
    """

    depth: Float[Tensor, "h w"]
    mask: Bool[Tensor, "h w"]
    intrinsics: Float[Tensor, "4"]

    def __post_init__(self) -> None:
        if self.mask.shape != self.depth.shape:
            expected = f"the depth's shape {tuple(self.depth.shape)}"
            raise InputError("depth mask", f"shape {tuple(self.mask.shape)}", expected)
        focal = self.intrinsics[:2]
        if not (torch.isfinite(self.intrinsics).all() and (focal > 0).all()):
            value = self.intrinsics.tolist()
            raise InputError("intrinsics of a depth map", value, "finite values, fx and fy > 0")


def clamp_depth(depth: Float[Tensor, "*shape"], far: float) -> Float[Tensor, "*shape"]:
    """Depth in [0, `far`] without NaN: NaN and +inf become `far`, negative values 0."""
    return depth.nan_to_num(nan=far).clamp(0, far)
