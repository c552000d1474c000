"""Depth for people: as colour, near red and far blue, and as a wave of light."""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..io.image.pixels import round_to_uint8

LOW, HIGH = 0.01, 0.99
# Enough samples for a quantile; torch sorts at most 2**24.
MAX_SAMPLES = 2**20
# Frames of the wave: the picture alone, then with the band of light.
HELD_FRAMES, WAVE_FRAMES = 24, 25
# Half width of the band in scene units, and its colours (8-bit RGB) at the near and the far end.
HALF_WIDTH = 0.4
NEAR_COLOR, FAR_COLOR = (255, 230, 200), (200, 220, 255)


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
    """RGB of a depth clip, one colour scale for all frames; `limits` are its near and far ends."""
    position = _position(depth.float(), limits or depth_range(depth))
    return round_to_uint8(_jet(1 - position))


def depth_wave(
    frame: UInt8[Tensor, "h w 3"], depth: Float[Tensor, "h w"]
) -> UInt8[Tensor, "wave h w 3"]:
    """The picture for 24 frames, then 25 frames in which a band of light runs from near to far.

    `depth` is z in scene units; the band runs over its 1 % to 99 % quantiles.
    """
    near, far = depth_range(depth)
    steps = torch.linspace(near, far, WAVE_FRAMES, device=depth.device)
    distance = (depth[None] - steps[:, None, None]).abs()
    weight = torch.cos(math.pi / 2 * distance / HALF_WIDTH) ** 2
    weight = torch.where(distance <= HALF_WIDTH, weight, 0)[..., None]
    position = _position(depth, (near, far))[..., None]
    near_color, far_color = position.new_tensor(NEAR_COLOR), position.new_tensor(FAR_COLOR)
    light = near_color + position * (far_color - near_color)
    waves = frame + weight * (light - frame)
    held = frame[None].expand(HELD_FRAMES, -1, -1, -1)
    return torch.cat([held, waves.round().to(torch.uint8)])


def _position(
    depth: Float[Tensor, "*shape"], limits: tuple[float, float]
) -> Float[Tensor, "*shape"]:
    """0 at the near end of `limits`, 1 at the far end and where depth is NaN."""
    near, far = limits
    return ((depth - near) / max(far - near, 1e-12)).nan_to_num(1).clamp(0, 1)


def _jet(position: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape 3"]:
    """The "jet" colour map: blue at 0, green at 1/2, red at 1."""
    centres = position.new_tensor([3.0, 2.0, 1.0])
    return (1.5 - (4 * position[..., None] - centres).abs()).clamp(0, 1)
