"""A library of canvases and of masks, from which clips are composed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from src.io.image import round_to_uint8

from .composites import (
    coverage,
    dead_leaves,
    foliage,
    foliage_shapes,
    scattered,
    writing,
    writing_shapes,
)
from .textures import Draws, Pictures, Size, bricks, clouds, gradient, noise, power_law, stripes

Masks: TypeAlias = Float[Tensor, "n 1 h w"]
# Canvases that are computed at once.
AT_ONCE = 8
# The most canvases and masks of one library: each has a seed of its own.
ROOM = 1 << 24


def blobs(draws: Draws, size: Size) -> Masks:
    """The places where smooth noise is high."""
    field = power_law(draws, size, 1, steepest=2.4, flattest=1.6)
    return ((field - draws.uniform(1, 1, 1, low=-0.3, high=1.2)) * 40 + 0.5).clamp(0, 1)


def unions(draws: Draws, size: Size) -> Masks:
    """A few large shapes."""
    return coverage(scattered(draws, 7, smallest=0.05, largest=0.4, exponent=0.3), size)


def clumps(draws: Draws, size: Size) -> Masks:
    """Foliage, with the sky between its leaves."""
    return coverage(foliage_shapes(draws, 1500), size)


def signs(draws: Draws, size: Size) -> Masks:
    """Strokes of writing."""
    return coverage(writing_shapes(draws), size)


# Shares of a library. Textures come first: composites show pieces of all canvases before them.
TEXTURES: Sequence[tuple[float, Callable[..., Pictures]]] = (
    (0.16, noise),
    (0.05, clouds),
    (0.04, gradient),
    (0.07, stripes),
    (0.06, bricks),
)
COMPOSITES: Sequence[tuple[float, Callable[..., Pictures]]] = (
    (0.20, partial(dead_leaves, count=160, smallest=0.015, largest=0.5)),
    (0.06, writing),
    (0.10, foliage),
    (0.14, partial(dead_leaves, count=1200, smallest=0.004, largest=0.2)),
    (0.12, partial(dead_leaves, count=400, smallest=0.008, largest=0.5)),
)
MASKS: Sequence[Callable[..., Masks]] = (blobs, unions, clumps, signs)


@dataclass(frozen=True)
class Library:
    """Pictures, and masks for the layers before them."""

    canvases: UInt8[Tensor, "canvas 3 h w"]
    masks: UInt8[Tensor, "mask 1 h w"]


@torch.no_grad()
def build_library(
    seed: int, canvases: int, masks: int, size: Size, device: torch.device | str
) -> Library:
    """The library of a seed: about so many canvases and masks, at least one of each kind."""
    first = seed * ROOM

    def made(draw: Callable[[Draws], Tensor], count: float) -> UInt8[Tensor, "_ c h w"]:
        """The pictures of the next seeds."""
        nonlocal first
        start, first = first, first + max(round(count), 1)
        seeds = torch.arange(start, first, device=device).split(AT_ONCE)
        return torch.cat([round_to_uint8(draw(Draws(some))) for some in seeds])

    pictures = torch.cat(
        [made(partial(texture, size=size), canvases * share) for share, texture in TEXTURES]
    )
    for share, composite in COMPOSITES:
        new = made(partial(composite, sources=pictures), canvases * share)
        pictures = torch.cat([pictures, new])
    return Library(
        pictures, torch.cat([made(partial(mask, size=size), masks // 4) for mask in MASKS])
    )
