"""The depth wave: a band of light that runs through a scene from near to far."""

import math

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from .depth import depth_range

HELD_FRAMES, WAVE_FRAMES = 24, 25
# Half width of the band in scene units, and its colours (8-bit RGB) at the near and the far end.
HALF_WIDTH = 0.4
NEAR_COLOR, FAR_COLOR = (255, 230, 200), (200, 220, 255)


def depth_wave(
    frame: UInt8[Tensor, "h w 3"], depth: Float[Tensor, "h w"]
) -> UInt8[Tensor, "wave h w 3"]:
    """49 frames: the picture held for 24, then 25 in which the band runs through it.

    Args:
        frame: RGB.
        depth: z in scene units; the band runs over its 1 % to 99 % quantiles.
    """
    near, far = depth_range(depth)
    steps = torch.linspace(near, far, WAVE_FRAMES, device=depth.device)
    distance = (depth[None] - steps[:, None, None]).abs()
    weight = torch.cos(math.pi / 2 * distance / HALF_WIDTH) ** 2
    weight = torch.where(distance <= HALF_WIDTH, weight, 0)[..., None]
    position = ((depth - near) / max(far - near, 1e-12)).nan_to_num(1).clamp(0, 1)[..., None]
    near_color, far_color = position.new_tensor(NEAR_COLOR), position.new_tensor(FAR_COLOR)
    light = near_color + position * (far_color - near_color)
    waves = frame + weight * (light - frame)
    held = frame[None].expand(HELD_FRAMES, -1, -1, -1)
    return torch.cat([held, waves.round().to(torch.uint8)])
