"""Raw channels and rays -> Gaussians on the rays.

Raw channels are `distance | rgb 3 | scale 3 | rotation 4 | opacity`; a Gaussian lies at
`origin + depth * direction`, depth measured along the unit ray.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ...gaussians import Gaussians

RAW_CHANNELS = 12
OPACITY = slice(11, 12)
NOT_OPACITY = slice(0, 11)
OPACITY_SHIFT = -2.0


@dataclass(frozen=True)
class HeadRange:
    """The ranges of the activations; lengths in world units."""

    near: float = 0.1
    far: float = 500.0
    distance_shift: float = -1.65
    scale_cap: float = 0.3


def activate(
    raw: Float[Tensor, "*cell 12"],
    origins: Float[Tensor, "*cell 3"],
    directions: Float[Tensor, "*cell 3"],
    limits: HeadRange,
) -> Gaussians:
    """Gaussians of the raw channels, computed in their type.

    In bfloat16 the depth comes out in steps of about 3 %, as the sum with the distance shift is
    rounded; float32 raw channels avoid that.
    """
    distance, colors, scales, quats, opacities = raw.split([1, 3, 3, 4, 1], dim=-1)
    share = torch.sigmoid(distance + limits.distance_shift)
    depth = limits.near * (1 - share) + limits.far * share
    # At a raw value of 1 the scale meets its cap.
    shift = 1 - math.log(limits.scale_cap)
    return Gaussians(
        means=origins + directions * depth,
        opacities=torch.sigmoid(opacities[..., 0] + OPACITY_SHIFT),
        scales=torch.exp(scales - shift).clamp(max=limits.scale_cap),
        quats=F.normalize(quats, dim=-1, eps=1e-12),
        colors=0.5 * torch.tanh(colors) + 0.5,
    )
