"""A library of canvases and of masks: all that clips are made of."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.io.image.pixels import round_to_uint8

from .draws import Draws
from .layouts import foliage, foliage_shapes, writing, writing_shapes
from .leaves import coverage, dead_leaves, scattered
from .textures import Size, bricks, clouds, gradient, noise, power_law, stripes

Texture = Callable[[Draws, Size], Tensor]
Composite = Callable[[Draws, Tensor], Tensor]
# Canvases that are computed at once.
AT_ONCE = 8
# Seeds of a library.
ROOM = 1 << 24

# Name, share of the library, how it is made. Textures come first: the others show pieces of them.
TEXTURES: tuple[tuple[float, Texture], ...] = (
    (0.16, noise),
    (0.05, clouds),
    (0.04, gradient),
    (0.07, stripes),
    (0.06, bricks),
)


def composites(size: Size) -> tuple[tuple[float, Composite], ...]:
    """What is made of all canvases before it, with its share."""
    return (
        (0.20, partial(dead_leaves, count=160, smallest=0.015, largest=0.5)),
        (0.06, partial(writing, size=size)),
        (0.10, partial(foliage, size=size)),
        (0.14, partial(dead_leaves, count=1200, smallest=0.004, largest=0.2)),
        (0.12, partial(dead_leaves, count=400, smallest=0.008, largest=0.5)),
    )


@dataclass(frozen=True)
class Library:
    """Pictures, and masks of what lies before others."""

    canvases: UInt8[Tensor, "canvas 3 h w"]
    masks: UInt8[Tensor, "mask 1 h w"]


@torch.no_grad()
def build_library(
    seed: int, canvases: int, masks: int, size: Size, device: torch.device | str
) -> Library:
    """About so many canvases and masks, at least one of each kind, as a function of `seed`."""
    first = seed * ROOM
    made = torch.empty(0, 3, *size, dtype=torch.uint8, device=device)
    for share, texture in TEXTURES:
        count = max(round(canvases * share), 1)
        made = torch.cat([made, _draw(partial(_plain, texture, size), first, count, device)])
        first += count
    for share, composite in composites(size):
        count = max(round(canvases * share), 1)
        below = made
        made = torch.cat(
            [made, _draw(lambda d, c=composite, b=below: c(d, b), first, count, device)]
        )
        first += count
    parts = []
    for draw in (_blobs, _unions, _clumps, _signs):
        count = max(masks // 4, 1)
        parts.append(_draw(partial(draw, size=size), first, count, device))
        first += count
    return Library(made, torch.cat(parts))


def _plain(texture: Texture, size: Size, draws: Draws) -> Float[Tensor, "n 3 h w"]:
    return texture(draws, size)


def _draw(
    draw: Callable[[Draws], Tensor], first: int, count: int, device: torch.device | str
) -> UInt8[Tensor, "{count} c h w"]:
    """Pictures of the seeds from `first` on."""
    seeds = torch.arange(first, first + count, device=device)
    parts = [to_bytes(draw(Draws(some))) for some in seeds.split(AT_ONCE)]
    return torch.cat(parts)


def to_bytes(color: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Numbers in [0, 1] as 8 bits; what is beyond is clipped."""
    return round_to_uint8(color)


def _blobs(draws: Draws, size: Size) -> Float[Tensor, "n 1 h w"]:
    """Where steep noise is high."""
    field = power_law(draws, size, 1, steepest=2.4, flattest=1.6)
    return ((field - draws.uniform(1, 1, 1, low=-0.3, high=1.2)) * 40 + 0.5).clamp(0, 1)


def _unions(draws: Draws, size: Size) -> Float[Tensor, "n 1 h w"]:
    """A few large shapes."""
    return coverage(scattered(draws, 7, smallest=0.05, largest=0.4, exponent=0.3), size)


def _clumps(draws: Draws, size: Size) -> Float[Tensor, "n 1 h w"]:
    """Foliage, with the sky between its leaves."""
    return coverage(foliage_shapes(draws, size, 1500), size)


def _signs(draws: Draws, size: Size) -> Float[Tensor, "n 1 h w"]:
    """Strokes."""
    return coverage(writing_shapes(draws, size), size)
