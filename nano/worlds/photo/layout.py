"""Layouts of worlds like photographs: as those of plain worlds, with more and smaller things."""

import math
from dataclasses import replace

import numpy as np

from ..layout import Layout, Standing, fits
from ..palettes import FAMILIES, draw_palette
from ..props import Weights, draw_prop
from .coats import PhotoPainter
from .props import HEROES, INDOORS, OUTDOORS, clutter
from .surroundings import draw_hall, draw_land

INDOOR_SHARE = 0.45
# The share of worlds with many small things on the ground, and their number.
CLUTTERED, FEWEST_SMALL, MOST_SMALL = 0.15, 40, 50
# Solids of things that stand freely.
FEWEST_SOLIDS, MOST_SOLIDS = 6, 16
TRIES = 40


def draw_photo_layout(rng: np.random.Generator, family: str, saturation: float) -> Layout:
    """A random still world with a centre depth of about 1; `mixed` is a family at random."""
    names = list(FAMILIES)
    # Strong paint is rare in photographs.
    chosen = names[int(rng.choice(len(names), p=[0.5, 0.12, 0.35, 0.03]))]
    outdoors = rng.random() >= INDOOR_SHARE
    palette = draw_palette(rng, chosen if family == "mixed" else family, outdoors)
    painter = PhotoPainter(rng, palette, saturation)
    weights, farthest = (OUTDOORS, 9.0) if outdoors else (INDOORS, 2.8)
    hero = draw_prop(painter, HEROES, rng.uniform(0.08, 0.17))
    distance = 1 + 0.7 * hero.solids[0].half[2]
    aim = hero.height * rng.uniform(0.45, 0.8)
    slope = math.tan(math.radians(rng.uniform(2, 10) if outdoors else rng.uniform(5, 18)))
    floor = min(max(aim + slope * distance, 0.32), 0.62)
    surroundings = (draw_land if outdoors else draw_hall)(painter, floor)
    field_of_view = math.radians(rng.uniform(42, 72))
    spread = math.tan(field_of_view / 2)
    if rng.random() < CLUTTERED:
        count = int(rng.integers(FEWEST_SMALL, MOST_SMALL + 1))
        small = clutter(painter, count, spread=spread, farthest=5.0 if outdoors else 2.2)
        ground = [solid.grounded(floor) for solid in small]
        inside = [s for s in ground if surroundings.shell.contains(np.array([s.center]), 0.0)]
        surroundings = replace(surroundings, fixtures=(*surroundings.fixtures, *inside))
    standing = [Standing(hero, rng.uniform(-0.3, 0.3) * hero.solids[0].half[0], distance)]
    total = int(rng.integers(FEWEST_SOLIDS, MOST_SOLIDS + 1))
    for _ in range(TRIES):
        missing = total - sum(len(thing.prop.solids) for thing in standing)
        if missing <= 0:
            break
        thing = _draw_standing(painter, weights, farthest=farthest, spread=spread)
        if len(thing.prop.solids) <= missing + 4 and fits(thing, standing, surroundings):
            standing.append(thing)
    return Layout(
        standing=tuple(standing),
        surroundings=surroundings,
        floor=floor,
        pitch=math.atan2(floor - aim, distance),
        field_of_view=field_of_view,
    )


def _draw_standing(
    painter: PhotoPainter, weights: Weights[PhotoPainter], farthest: float, spread: float
) -> Standing:
    """A thing anywhere in the picture, more often near than far."""
    rng = painter.rng
    z = math.exp(rng.uniform(math.log(0.75), math.log(farthest)))
    x = rng.uniform(-1.0, 1.0) * spread * z
    size = rng.uniform(0.05, 0.15) * (0.7 + 0.3 * z)
    return Standing(draw_prop(painter, weights, size), x, z)
