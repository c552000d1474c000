"""The textures of the worlds like photographs: canvases made periodic, with contrast of one size.

The first world that is drawn on a device makes them.
"""

from collections.abc import Callable, Mapping
from functools import lru_cache, partial

import torch
from jaxtyping import Float
from torch import Tensor

from src.io.image import round_to_uint8

from ..canvases.draws import Draws
from ..canvases.layouts import foliage, writing
from ..canvases.leaves import dead_leaves
from ..canvases.textures import Pictures, bricks, clouds, gradient, noise, stripes
from ..rendering.atlas import Atlas, pack_atlas

# The side of a texture in texels, a power of two.
SIDE = 256
# Textures of each kind; composites show pieces of all canvases before them.
TEXTURES: Mapping[str, tuple[Callable[..., Pictures], int]] = {
    "noise": (noise, 12),
    "clouds": (clouds, 8),
    "gradient": (gradient, 4),
    "stripes": (stripes, 6),
    "bricks": (bricks, 10),
}
COMPOSITES: Mapping[str, tuple[Callable[..., Pictures], int]] = {
    "leaves": (partial(dead_leaves, count=160, smallest=0.015, largest=0.4), 6),
    "writing": (writing, 4),
    "foliage": (foliage, 7),
    "gravel": (partial(dead_leaves, count=700, smallest=0.006, largest=0.12), 7),
}
KINDS = tuple([*TEXTURES, *COMPOSITES])
COUNTS = tuple(count for _, count in [*TEXTURES.values(), *COMPOSITES.values()])
# Seeds of canvases that no other library has: their first seeds are multiples of 2^24.
FIRST_SEED = (1 << 50) + 5
# The margin in which a canvas fades into its other end, as a share of the side.
OVERLAP = 0.25
# The deviation of the blend in every texture.
DEVIATION = 0.23


def texture_numbers(kind: str) -> range:
    """The textures of a kind."""
    place = KINDS.index(kind)
    start = sum(COUNTS[:place])
    return range(start, start + COUNTS[place])


@lru_cache
@torch.no_grad()
def photo_atlas(device: torch.device) -> Atlas:
    """The atlas of all textures on a device."""
    margin = round(SIDE * OVERLAP)
    size, seed, made = (SIDE + margin, SIDE + margin), FIRST_SEED, []
    for function, count in TEXTURES.values():
        draws = Draws(torch.arange(seed, seed + count, device=device))
        made.append(round_to_uint8(function(draws, size)))
        seed += count
    for function, count in COMPOSITES.values():
        draws = Draws(torch.arange(seed, seed + count, device=device))
        made.append(round_to_uint8(function(draws, sources=torch.cat(made))))
        seed += count
    pictures = torch.cat(made).float() / 255
    return pack_atlas(_levelled(_periodic(_periodic(pictures, margin).mT, margin).mT))


def _periodic(pictures: Float[Tensor, "n 3 h w"], margin: int) -> Float[Tensor, "n 3 h side"]:
    """Pictures whose right end goes on at their left end, `margin` narrower."""
    side = pictures.shape[-1] - margin
    share = (torch.arange(margin, device=pictures.device) + 0.5) / margin
    start, end = pictures[..., :margin], pictures[..., side:]
    # A blend of independent noise loses contrast: the weights keep its variance.
    weight, rest = share.sqrt(), (1 - share).sqrt()
    mean = pictures.mean((2, 3), keepdim=True)
    blended = mean + (start - mean) * weight + (end - mean) * rest
    return torch.cat([blended, pictures[..., margin:side]], dim=-1)


def _levelled(pictures: Float[Tensor, "n 3 side side"]) -> Float[Tensor, "n 3 side side"]:
    """Pictures with a mean of one half and a common contrast."""
    away = pictures - pictures.mean((2, 3), keepdim=True)
    spread = away.mean(1, keepdim=True).std((2, 3), keepdim=True).clamp_min(0.02)
    return (0.5 + away * (DEVIATION / spread)).clamp(0, 1)
