"""Colours of canvases: RGB in [0, 1], mostly muted, sometimes strong."""

import torch
from jaxtyping import Float
from torch import Tensor

from .draws import Draws

STRONG = 0.25


def draw_colors(draws: Draws, *shape: int) -> Float[Tensor, "n ... 3"]:
    """A colour for each place of `shape`."""
    hue, value = draws.uniform(*shape), draws.uniform(*shape, low=0.03)
    muted, strong = draws.uniform(*shape, high=0.4), draws.uniform(*shape, low=0.4)
    saturation = torch.where(draws.chance(STRONG, *shape), strong, muted)
    return from_hsv(hue, saturation, value)


def from_hsv(
    hue: Float[Tensor, "*shape"],
    saturation: Float[Tensor, "*shape"],
    value: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape 3"]:
    """RGB of hue (in turns), saturation and value."""
    turn = torch.tensor([5.0, 3.0, 1.0], device=hue.device)
    k = (turn + 6 * hue[..., None]) % 6
    fall = torch.minimum(k, 4 - k).clamp(0, 1)
    return value[..., None] * (1 - saturation[..., None] * fall)


def plane(color: Float[Tensor, "*shape 3"]) -> Float[Tensor, "*shape 3 1 1"]:
    """Colours as pictures of one pixel."""
    return color[..., None, None]
