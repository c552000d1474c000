"""Random coatings in the colours of one world, and their textures.

The textures are canvases made periodic, with contrast of one size; the first world that is drawn on
a device makes them.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TypeAlias

import torch
from jaxtyping import Float
from torch import Tensor

from src.io.image import round_to_uint8

from ..canvases.composites import dead_leaves, foliage, writing
from ..canvases.textures import Draws, Pictures, bricks, clouds, gradient, noise, stripes
from ..palettes import Color, shade
from ..rendering.coating import Atlas, Coating, pack_atlas
from ..rendering.materials import Painter, choose

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


# The relative frequencies of kinds of textures.
Kinds: TypeAlias = Mapping[str, float]
THINGS: Kinds = {
    "noise": 3, "gradient": 1, "stripes": 1, "bricks": 0.4, "leaves": 1.2, "writing": 1,
    "foliage": 0.5, "gravel": 1,
}  # fmt: skip
FLOORS: Kinds = {"noise": 3, "bricks": 2, "stripes": 0.6, "gravel": 1.2, "leaves": 0.3}
GROUNDS: Kinds = {"noise": 3, "foliage": 2.5, "gravel": 3, "bricks": 1.2, "leaves": 0.5}
WALLS: Kinds = {"noise": 4, "gradient": 1, "bricks": 1.2, "stripes": 0.5, "gravel": 0.5}
FACADES: Kinds = {"bricks": 3, "noise": 1, "stripes": 1.5, "gravel": 1, "leaves": 0.5}
PLANTS: Kinds = {"foliage": 4, "gravel": 1}
SIGNS: Kinds = {"writing": 2, "leaves": 2, "foliage": 0.5}
SKIES: Kinds = {"clouds": 1}
# Textures whose changes of brightness suit any surface.
DETAILS: Kinds = {"noise": 3, "gravel": 2, "leaves": 0.6}
# Detail is never finer than this part of the texture's repeats.
FINEST = 11.0


@dataclass(frozen=True)
class PhotoPainter(Painter):
    """A painter of coatings."""

    def texture(self, kinds: Kinds) -> int:
        """The number of a random texture of the given kinds."""
        kind = list(kinds)[choose(self.rng, list(kinds.values()))]
        return int(self.rng.choice(texture_numbers(kind)))

    def coat(
        self, kinds: Kinds, color: Color, size: float, contrast: float = 1.0, level: bool = False
    ) -> Coating:
        """A coating in shades of `color`, with about one repeat in `size`.

        With `level` the texture stays upright.
        """
        rng = self.rng
        # Half of the coatings have shades of one colour, the others change their hue too.
        dark = shade(color, -min(contrast * rng.uniform(0.35, 0.85), 0.95))
        light = shade(color, contrast * rng.uniform(0.15, 0.55))
        if rng.random() < 0.25:
            light = shade(self.item(), contrast * rng.uniform(0, 0.3))
        frequency = math.exp(rng.uniform(-0.7, 0.7)) / size
        x, y, z = rng.uniform(0, 1, 3).tolist()
        turned = rng.uniform(-math.pi, math.pi) if rng.random() < 0.5 else rng.normal() * 0.04
        return Coating(
            pattern="noise",
            a=dark,
            b=light,
            frequency=frequency,
            aspect=math.exp(rng.normal() * 0.25),
            angle=0.0 if level else turned,
            noise_frequency=frequency * math.exp(rng.uniform(0.9, math.log(FINEST))),
            mottle=contrast * rng.uniform(0.2, 0.75),
            offset=(x, y, z),
            texture=self.texture(kinds),
            detail=self.texture(DETAILS),
            keep=rng.uniform(0.1, 1.0),
        )

    def flat(self, height: float) -> Coating:
        """The coating of a box of half extent `height`."""
        return self.coat(THINGS, self.item(), size=2.5 * max(height, 0.03))

    def round(self, radius: float, height: float) -> Coating:
        """The coating of a cylinder or sphere."""
        return self.coat(THINGS, self.item(), size=2.5 * max(radius, height, 0.03))

    def leafy(self, size: float) -> Coating:
        """The coating of a crown or a bush."""
        rng = self.rng
        green = (rng.uniform(0.2, 0.45), rng.uniform(0.35, 0.55), rng.uniform(0.1, 0.25))
        autumn = (rng.uniform(0.5, 0.7), rng.uniform(0.3, 0.45), rng.uniform(0.08, 0.2))
        return self.coat(PLANTS, self.tone(autumn if rng.random() < 0.15 else green), size, 1.2)


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
