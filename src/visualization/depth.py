"""Depth as colour: near is red, far is blue."""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

LOW, HIGH = 0.01, 0.99
# A quantile needs no more samples than this, and torch sorts no more than 2**24.
MAX_SAMPLES = 2**20


def depth_range(depth: Float[Tensor, "*shape"]) -> tuple[float, float]:
    """The 1 % and 99 % quantiles of all finite values, from an even sample; (0, 1) if none."""
    values = depth.flatten()
    values = values[:: max(1, values.numel() // MAX_SAMPLES)].float()
    values = values[torch.isfinite(values)]
    if not values.numel():
        return 0.0, 1.0
    low, high = torch.quantile(values, values.new_tensor([LOW, HIGH])).tolist()
    return low, high


def colorize_depth(
    depth: Float[Tensor, "frame h w"], limits: tuple[float, float] | None = None
) -> UInt8[Tensor, "frame h w 3"]:
    """RGB of a depth clip, one colour scale for all of its frames.

    Args:
        depth: z in any unit.
        limits: depths drawn as pure near and far; by default the `depth_range` of the clip.
    """
    near, far = limits or depth_range(depth)
    position = ((depth.float() - near) / max(far - near, 1e-12)).nan_to_num(1).clamp(0, 1)
    return (255 * _jet(1 - position)).round().to(torch.uint8)


def _jet(position: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 3"]:
    """The "jet" colour map: blue at 0, green at 1/2, red at 1."""
    centres = position.new_tensor([3.0, 2.0, 1.0])
    return (1.5 - (4 * position[..., None] - centres).abs()).clamp(0, 1)
