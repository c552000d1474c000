"""Materials of surfaces: a pattern between two colours, as one row of numbers.

Lengths are scene units, frequencies repeats per unit. Colours are sRGB here and linear in the row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..palettes import Color, Palette, Range, saturate, shade
from ..shapes import Triple

PATTERNS = ("gradient", "noise", "marble", "wood", "stripes", "bricks", "dots", "sky")
# Close to the sRGB curve, without its linear piece at black.
GAMMA = 2.2


@dataclass(frozen=True)
class Material:
    """The parameters of a pattern; `textures.py` shows which of them a pattern reads."""

    pattern: str
    a: Color
    b: Color
    frequency: float = 1.0
    aspect: float = 1.0
    angle: float = 0.0
    level: float = 0.0
    softness: float = 0.1
    warp: float = 0.0
    noise_frequency: float = 0.6
    mottle: float = 0.05
    glow: float = 0.0
    offset: Triple = (0.0, 0.0, 0.0)

    def scaled(self, factor: float) -> "Material":
        """The same look when every length of the scene is multiplied by `factor`."""
        frequency, noise = self.frequency / factor, self.noise_frequency / factor
        return replace(self, frequency=frequency, noise_frequency=noise)

    def row(self) -> list[float]:
        """The numbers, in the order that `textures.py` unpacks."""
        # Patterns blend light, not display values.
        linear = [part**GAMMA for part in (*self.a, *self.b)]
        turn = [math.cos(self.angle), math.sin(self.angle)]
        shape = [self.frequency, self.aspect, *turn, self.level, self.softness, self.warp]
        rest = [self.noise_frequency, self.mottle, self.glow, *self.offset]
        return [float(PATTERNS.index(self.pattern)), *linear, *shape, *rest]


@dataclass(frozen=True)
class Recipe:
    """A pattern, its relative frequency, and the ranges of its parameters."""

    pattern: str
    weight: float
    frequency: Range = (1.0, 1.0)
    aspect: float = 1.0
    level: Range = (0.0, 0.0)
    softness: Range = (0.1, 0.1)
    warp: Range = (0.0, 0.0)
    noise_frequency: Range = (0.5, 1.0)
    contrast: Range = (0.2, 0.45)


OBJECTS = (
    Recipe("gradient", 0.2),
    Recipe("noise", 0.2, noise_frequency=(0.8, 1.6)),
    Recipe("marble", 0.13, (2.5, 5), warp=(0.12, 0.3)),
    Recipe("wood", 0.15, (7, 12), warp=(0.06, 0.2), noise_frequency=(0.3, 0.7)),
    Recipe("stripes", 0.14, (5, 11), softness=(0.08, 0.3), warp=(0, 0.06)),
    Recipe("bricks", 0.09, (3.5, 6), aspect=2.2, level=(0.04, 0.07), softness=(0.03, 0.05)),
    Recipe("dots", 0.09, (5, 9), level=(0.22, 0.34), softness=(0.05, 0.1)),
)
# Patterns without a seam around cylinders and spheres.
ROUND = tuple(recipe for recipe in OBJECTS if recipe.pattern not in ("bricks", "dots"))
FLOORS = (
    Recipe("noise", 0.25, noise_frequency=(0.3, 0.7), contrast=(0.1, 0.25)),
    Recipe("bricks", 0.3, (0.7, 1.1), aspect=5, level=(0.01, 0.02), softness=(0.02, 0.03)),
    Recipe("bricks", 0.25, (2.2, 3.5), level=(0.02, 0.04), softness=(0.03, 0.05)),
    Recipe("gradient", 0.1),
    Recipe("stripes", 0.1, (1.5, 3), softness=(0.1, 0.3), contrast=(0.1, 0.25)),
)
GROUNDS = (
    Recipe("noise", 0.6, noise_frequency=(0.15, 0.5), contrast=(0.15, 0.4)),
    Recipe("marble", 0.2, (0.5, 1.0), warp=(0.12, 0.3), noise_frequency=(0.2, 0.4)),
    Recipe("bricks", 0.2, (1.2, 2.2), level=(0.01, 0.025), softness=(0.02, 0.03)),
)
WALLS = (
    Recipe("gradient", 0.3, (0.4, 0.6), softness=(1, 1), contrast=(0.05, 0.15)),
    Recipe("gradient", 0.25, level=(-0.1, 0.3), softness=(0.03, 0.03), contrast=(0.15, 0.4)),
    Recipe("noise", 0.2, noise_frequency=(0.3, 0.6), contrast=(0.03, 0.1)),
    Recipe("stripes", 0.15, (1.2, 2.5), softness=(0.1, 0.3), contrast=(0.08, 0.25)),
    Recipe("bricks", 0.1, (1.5, 2.5), aspect=2.4, level=(0.03, 0.05), softness=(0.03, 0.05)),
)


def choose(rng: np.random.Generator, weights: Sequence[float]) -> int:
    """A random index, with probabilities in proportion to `weights`."""
    ends = np.cumsum(weights)
    return int(np.searchsorted(ends, rng.random() * ends[-1]))


@dataclass(frozen=True)
class Painter:
    """Random materials in the colours of one world."""

    rng: np.random.Generator
    palette: Palette
    saturation: float

    def tone(self, color: Color) -> Color:
        """A palette's colour as this world shows it."""
        return saturate(color, self.saturation)

    def item(self) -> Color:
        """One of the palette's object colours."""
        colors = self.palette.objects
        return self.tone(colors[int(self.rng.integers(len(colors)))])

    def plain(self, color: Color) -> Material:
        """One colour with a faint mottle."""
        return Material(pattern="gradient", a=color, b=color, mottle=0.03)

    def draw(self, recipes: Sequence[Recipe], color: Color, mixing: float = 0.0) -> Material:
        """A material of `color` and another colour (probability `mixing`) or its own shade."""
        rng = self.rng
        recipe = recipes[choose(rng, [recipe.weight for recipe in recipes])]
        contrast = rng.uniform(*recipe.contrast) * (1 if rng.random() < 0.4 else -1)
        partner = self.item() if rng.random() < mixing else shade(color, contrast)
        x, y, z = rng.uniform(0, 1, 3).tolist()
        return Material(
            pattern=recipe.pattern,
            a=color,
            b=partner,
            frequency=rng.uniform(*recipe.frequency),
            aspect=recipe.aspect,
            angle=0.0 if rng.random() < 0.6 else rng.uniform(0, math.pi),
            level=rng.uniform(*recipe.level),
            softness=rng.uniform(*recipe.softness),
            warp=rng.uniform(*recipe.warp),
            noise_frequency=rng.uniform(*recipe.noise_frequency),
            mottle=rng.uniform(0.02, 0.05),
            offset=(x, y, z),
        )

    def flat(self, height: float) -> Material:
        """The material of a box of half extent `height`."""
        return _fit(self.draw(OBJECTS, self.item(), mixing=0.3), height)

    def round(self, radius: float, height: float) -> Material:
        """The material of a cylinder or sphere: its pattern closes around the round side."""
        material = _fit(self.draw(ROUND, self.item(), mixing=0.3), height)
        if material.pattern != "stripes":
            return material
        repeats = max(round(2 * math.pi * radius * material.frequency), 3)
        frequency = repeats / (2 * math.pi * radius)
        return replace(material, frequency=frequency, angle=math.pi / 2)


def _fit(material: Material, height: float) -> Material:
    """The material, of which a gradient runs once over the solid's height."""
    if material.pattern != "gradient":
        return material
    return replace(material, frequency=0.5 / height, softness=1.0)
