"""Families of colours for the ground, walls, sky and objects of a world.

Colours are sRGB triples in [0, 1].
"""

import colorsys
from dataclasses import dataclass, replace

import numpy as np

Color = tuple[float, float, float]
Range = tuple[float, float]

OBJECT_COLORS = 7
GOLDEN_RATIO = 0.618034
# The share of worlds whose walls all have one colour.
SAME_WALLS = 0.7
LUMA = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class Palette:
    """The colours of one world."""

    ground: Color
    walls: tuple[Color, Color]
    ceiling: Color
    zenith: Color
    horizon: Color
    objects: tuple[Color, ...]


@dataclass(frozen=True)
class Paint:
    """The ranges of a random colour; without `hues` it has any hue."""

    saturation: Range
    value: Range
    hues: tuple[float, ...] = ()

    def draw(self, rng: np.random.Generator, hue: float | None = None) -> Color:
        """A random colour in the ranges, or of the given `hue`."""
        if hue is None:
            hue = rng.random()
            if self.hues:
                hue = self.hues[int(hue * len(self.hues))] + rng.uniform(-0.02, 0.02)
        return colorsys.hsv_to_rgb(hue % 1, rng.uniform(*self.saturation), rng.uniform(*self.value))


@dataclass(frozen=True)
class Family:
    """The paints of a family; `accents` is the number of objects in the accent's paint."""

    ground: Paint
    wall: Paint
    item: Paint
    accent: Paint
    accents: int


EARTH_HUES = (0.02, 0.05, 0.08, 0.11, 0.13, 0.25, 0.35, 0.56, 0.6)
WARM_HUES = (0.05, 0.08, 0.11, 0.13)
GRASS, SAND, CLAY, STONE = 0.24, 0.105, 0.05, 0.6

FAMILIES = {
    "earth": Family(
        ground=Paint((0.25, 0.5), (0.42, 0.62), WARM_HUES),
        wall=Paint((0.12, 0.34), (0.68, 0.88), WARM_HUES),
        item=Paint((0.3, 0.62), (0.42, 0.85), EARTH_HUES),
        accent=Paint((0.6, 0.8), (0.6, 0.85), EARTH_HUES),
        accents=1,
    ),
    "pastel": Family(
        ground=Paint((0.12, 0.32), (0.6, 0.8)),
        wall=Paint((0.1, 0.3), (0.8, 0.94)),
        item=Paint((0.25, 0.5), (0.72, 0.95)),
        accent=Paint((0.5, 0.65), (0.7, 0.9)),
        accents=1,
    ),
    "accent": Family(
        ground=Paint((0.08, 0.3), (0.4, 0.7), WARM_HUES),
        wall=Paint((0.0, 0.12), (0.68, 0.9)),
        item=Paint((0.02, 0.2), (0.32, 0.9), WARM_HUES + (0.6,)),
        accent=Paint((0.75, 0.95), (0.65, 0.9)),
        accents=3,
    ),
    "vivid": Family(
        ground=Paint((0.35, 0.7), (0.45, 0.75)),
        wall=Paint((0.35, 0.75), (0.65, 0.9)),
        item=Paint((0.65, 0.95), (0.6, 0.95)),
        accent=Paint((0.85, 1.0), (0.75, 0.95)),
        accents=2,
    ),
}

# Clear (the most frequent), overcast, evening.
SKIES = (0, 0, 1, 2)
ZENITHS = (
    Paint((0.4, 0.7), (0.6, 0.85), (0.57, 0.59, 0.61)),
    Paint((0.1, 0.25), (0.6, 0.8), (0.56, 0.6)),
    Paint((0.35, 0.6), (0.45, 0.7), (0.6, 0.66, 0.7)),
)
HORIZONS = (
    Paint((0.06, 0.2), (0.85, 0.95), (0.54, 0.56)),
    Paint((0.03, 0.1), (0.8, 0.9), (0.1, 0.58)),
    Paint((0.3, 0.6), (0.85, 0.95), (0.04, 0.07, 0.1, 0.95)),
)


def draw_palette(rng: np.random.Generator, name: str, outdoors: bool) -> Palette:
    """A random palette of the family `name`.

    The hues of objects are a golden section of the circle apart, so that even a few differ.
    """
    family = FAMILIES[name]
    start = rng.random()
    objects = []
    for index in range(OBJECT_COLORS):
        paint = family.accent if index < family.accents else family.item
        hue = None if paint.hues else start + index * GOLDEN_RATIO + rng.uniform(-0.05, 0.05)
        objects.append(paint.draw(rng, hue))
    wall, other_wall = family.wall.draw(rng), family.wall.draw(rng)
    walls = (wall, wall if rng.random() < SAME_WALLS else other_wall)
    ground = family.ground
    # A ground of any hue suits a painted floor; outdoors most have a natural hue.
    if outdoors and (not ground.hues and rng.random() < 0.6):
        ground = replace(ground, hues=(GRASS, GRASS, SAND, CLAY, STONE))
    sky = SKIES[int(rng.integers(len(SKIES)))]
    ceiling = Paint((0.0, 0.12), (0.85, 0.95)).draw(rng)
    return Palette(
        ground=ground.draw(rng),
        walls=walls,
        ceiling=ceiling,
        zenith=ZENITHS[sky].draw(rng),
        horizon=HORIZONS[sky].draw(rng),
        objects=tuple(objects),
    )


def saturate(color: Color, saturation: float) -> Color:
    """The colour with its distance from grey of the same luma scaled, clipped to [0, 1]."""
    luma = sum(weight * part for weight, part in zip(LUMA, color, strict=True))
    red, green, blue = (min(max(luma + (part - luma) * saturation, 0.0), 1.0) for part in color)
    return red, green, blue


def shade(color: Color, lightness: float) -> Color:
    """The colour `lightness` lighter (towards white) or darker (towards black), in [-1, 1]."""
    goal, amount = (1.0, lightness) if lightness > 0 else (0.0, -lightness)
    red, green, blue = (part + (goal - part) * amount for part in color)
    return red, green, blue
