"""Random coatings in the colours of one world."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from ..palettes import Color, shade
from ..rendering.coating import Coating
from ..rendering.materials import Painter, choose
from .library import texture_numbers

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
