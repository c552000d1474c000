"""The head: raw channels and rays -> Gaussians on the rays, of which the most opaque are kept.

Raw channels are `distance | rgb 3 | scale 3 | rotation 4 | opacity`; a Gaussian lies at
`origin + depth * direction` with a unit direction.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ...gaussians import Gaussians

RAW_CHANNELS = 12
OPACITY = slice(11, 12)
NOT_OPACITY = slice(0, 11)
OPACITY_SHIFT = -2.0


def activate(
    raw: Float[Tensor, "*cell 12"],
    origins: Float[Tensor, "*cell 3"],
    directions: Float[Tensor, "*cell 3"],
    *,
    near: float,
    far: float,
    distance_shift: float,
    scale_cap: float,
) -> Gaussians:
    """Returns the Gaussians of raw channels, computed in their type; lengths in world units.

    In bfloat16 the rounded sum with the distance shift gives depths in steps of about 3 %; float32
    channels avoid that.
    """
    distance, colors, scales, quats, opacities = raw.split([1, 3, 3, 4, 1], dim=-1)
    share = torch.sigmoid(distance + distance_shift)
    depth = near * (1 - share) + far * share
    # A raw value of 1 gives the cap.
    shift = 1 - math.log(scale_cap)
    return Gaussians(
        means=origins + directions * depth,
        opacities=torch.sigmoid(opacities[..., 0] + OPACITY_SHIFT),
        scales=torch.exp(scales - shift).clamp(max=scale_cap),
        quats=F.normalize(quats, dim=-1, eps=1e-12),
        colors=0.5 * torch.tanh(colors) + 0.5,
    )


def keep_count(total: int, ratio: float) -> int:
    """Returns how many of `total` Gaussians remain if the share `ratio` in [0, 1) is pruned.

    The float arithmetic is the published one: 10,222,080 at 0.8 give 2,044,415.
    """
    assert 0 <= ratio < 1, f"a prune ratio in [0, 1) is expected, got {ratio}"
    return int(total * (1 - ratio))


def keep_indices(
    scores: Float[Tensor, "batch gaussian"], ratio: float
) -> Int[Tensor, "batch kept"]:
    """Returns the ascending positions of the highest scores of each scene."""
    count = keep_count(scores.shape[-1], ratio)
    # Ascending, not by score: memory is read in order, and trajectories keep their order.
    return scores.detach().topk(count, dim=-1, sorted=False).indices.sort(dim=-1).values
