"""Layouts of worlds like photographs: more and smaller things in halls, streets and open land."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ..layout import Layout, Standing, fits
from ..palettes import FAMILIES, draw_palette, shade
from ..props import Solid, Weights, draw_prop
from ..rendering.coating import Coating
from ..rendering.lighting import Light
from ..surroundings import (
    NO_SKY,
    Shell,
    Surroundings,
    far_sun,
    linear,
    on_wall,
    open_shell,
    turn_level,
)
from .coats import FACADES, FLOORS, GROUNDS, PLANTS, SIGNS, SKIES, WALLS, PhotoPainter
from .props import HEROES, INDOORS, OUTDOORS, clutter, fence, house, tree

# The radius of the sky: four times that of plain worlds.
PHOTO_SKY_RADIUS = 80.0
INDOOR_SHARE = 0.45
# The share of halls whose walls and ceiling are bright and plain, as in most rooms. Without them a
# depth network takes a white wall for the sky.
PLAIN_HALLS = 0.5
# The share of worlds with many small things on the ground, and their number.
CLUTTERED, FEWEST_SMALL, MOST_SMALL = 0.15, 40, 50
# Solids of things that stand freely.
FEWEST_SOLIDS, MOST_SOLIDS = 6, 16
TRIES = 40
# No hill or house stands nearer.
NEAREST_SCENERY = 2.6


def draw_land(painter: PhotoPainter, floor: float) -> Surroundings:
    """Ground under a sky of clouds with hills, houses, trees or a street in the distance."""
    rng, palette = painter.rng, painter.palette
    ground = painter.tone(palette.ground)
    horizon, zenith = painter.tone(palette.horizon), painter.tone(palette.zenith)
    if rng.random() < 0.45:
        ground = painter.tone((rng.uniform(0.25, 0.5), rng.uniform(0.35, 0.5), 0.2))
    surface = painter.coat(GROUNDS, ground, size=math.exp(rng.uniform(-1.2, 0.5)))
    shell = open_shell(floor, PHOTO_SKY_RADIUS, surface=surface, sky=_sky(painter))
    parts: list[Solid] = []
    for draw, share in SCENERY:
        if rng.random() < share:
            parts += draw(painter)
    strength, overcast = rng.uniform(1.5, 3.2), rng.random() < 0.2
    around = rng.uniform(0.7, 1.0) if overcast else rng.uniform(0.16, 0.5)
    tint = (1.0, rng.uniform(0.78, 1.0), rng.uniform(0.55, 0.95))
    light = Light(
        position=far_sun(rng, 10, 60),
        color=linear(tint, strength * (0.2 if overcast else 1)),
        above=linear(zenith, around, whiteness=0.4),
        below=linear(ground, 0.8 * around, whiteness=0.15),
        haze=linear(horizon, 0.9),
        density=math.exp(rng.uniform(math.log(0.003), math.log(0.05))),
        softness=0.5 if overcast else rng.uniform(0.01, 0.1),
        reach=1e6,
    )
    return Surroundings(shell, tuple(part.grounded(floor) for part in parts), light)


def _sky(painter: PhotoPainter) -> Coating:
    rng, palette = painter.rng, painter.palette
    # Most skies of photographs are paler than paint.
    zenith = shade(painter.tone(palette.zenith), rng.uniform(-0.3, 0.3))
    sky = painter.coat(SKIES, zenith, size=3.0)
    return replace(
        sky,
        a=zenith,
        b=painter.tone(palette.horizon),
        frequency=math.exp(rng.uniform(-2.2, -0.9)),
        mottle=rng.uniform(0.2, 0.9) if rng.random() < 0.75 else 0.0,
        glow=1.0,
        texture=painter.texture({"clouds": 2, "noise": 1}),
        detail=painter.texture({"noise": 1}),
    )


def _hills(painter: PhotoPainter) -> list[Solid]:
    """Tops of large balls at the horizon."""
    rng, parts = painter.rng, []
    green = (rng.uniform(0.25, 0.45), rng.uniform(0.32, 0.45), rng.uniform(0.15, 0.3))
    for _ in range(int(rng.integers(1, 5))):
        away, angle = rng.uniform(12, 65), rng.uniform(-0.75, 0.75)
        radius = rng.uniform(0.25, 0.6) * away
        high = radius * rng.uniform(0.12, 0.55)
        coat = painter.coat({**PLANTS, "noise": 2, "leaves": 1}, painter.tone(green), radius / 2)
        center = (away * math.sin(angle), high - radius, away * math.cos(angle))
        parts.append(Solid("sphere", center, (radius, radius, radius), coat))
    return parts


def _village(painter: PhotoPainter) -> list[Solid]:
    """Houses from near to far."""
    rng, parts = painter.rng, []
    for _ in range(int(rng.integers(1, 4))):
        z = math.exp(rng.uniform(math.log(3.5), math.log(30)))
        size = rng.uniform(0.25, 0.7) * (0.6 + 0.18 * z)
        prop = house(painter, size)
        z = max(z, NEAREST_SCENERY + prop.radius)
        x = rng.uniform(-0.8, 0.8) * z
        parts += [part.moved(x, z) for part in prop.solids]
    return parts


def _grove(painter: PhotoPainter) -> list[Solid]:
    """Trees from near to far."""
    rng, parts = painter.rng, []
    for _ in range(int(rng.integers(1, 4))):
        z = math.exp(rng.uniform(math.log(3.0), math.log(25)))
        size = rng.uniform(0.2, 0.4) * (0.6 + 0.15 * z)
        prop, x = tree(painter, size), rng.uniform(-0.8, 0.8) * z
        parts += [part.moved(x, z) for part in prop.solids]
    return parts


def _street(painter: PhotoPainter) -> list[Solid]:
    """Fronts of houses along both sides, and perhaps one across the end."""
    rng, parts = painter.rng, []
    for side in (-1, 1):
        z, aside = rng.uniform(0.6, 2.0), rng.uniform(1.3, 2.4)
        for _ in range(int(rng.integers(1, 4))):
            long, tall, deep = rng.uniform((0.6, 0.4, 0.4), (1.6, 1.8, 0.9)).tolist()
            wall = painter.coat(FACADES, painter.item(), rng.uniform(0.5, 1.6), level=True)
            center = (side * (aside + deep), tall, z + long)
            parts.append(Solid("box", center, (deep, tall, long), wall))
            if rng.random() < 0.6:
                roof = painter.coat(FACADES, painter.item(), 0.5, level=True)
                half = (deep + 0.08, 0.03, long)
                parts.append(Solid("box", (center[0], 2 * tall + 0.03, center[2]), half, roof))
            for number in range(int(rng.integers(0, 2))):
                # Doors, signs and awnings on the front.
                half = (0.02, rng.uniform(0.08, 0.2), rng.uniform(0.06, 0.2))
                where = (side * aside, rng.uniform(0.1, 0.5), z + long * (0.4 + 0.6 * number))
                parts.append(Solid("box", where, half, painter.coat(SIGNS, painter.item(), 0.4)))
            z += 2 * long + rng.uniform(0, 0.5)
    return parts


def _fences(painter: PhotoPainter) -> list[Solid]:
    """A fence, or poles with cables."""
    rng = painter.rng
    side = 1 if rng.random() < 0.5 else -1
    if rng.random() < 0.5:
        start, yaw = (side * rng.uniform(0.9, 1.5), 0.0, 0.6), -side * rng.uniform(1.1, 1.5)
    else:
        start, yaw = (-rng.uniform(1.2, 2.2), 0.0, rng.uniform(1.7, 3.0)), rng.normal() * 0.15
    # Turned by -pi / 2, the line goes straight ahead.
    return fence(painter, start, rng.uniform(2, 4), yaw if yaw < 0 or side < 0 else -yaw)


SCENERY: tuple[tuple[Callable[[PhotoPainter], list[Solid]], float], ...] = (
    (_hills, 0.5), (_village, 0.45), (_grove, 0.5), (_street, 0.2), (_fences, 0.2),
)  # fmt: skip


def draw_hall(painter: PhotoPainter, floor: float) -> Surroundings:
    """A room or a hall with windows, pictures, doors, boards and a rug."""
    rng, palette = painter.rng, painter.palette
    wide, deep, tall = rng.uniform((1.3, 1.8, 0.6), (2.6, 3.2, 1.0)).tolist()
    if rng.random() < 0.25:
        wide, deep, tall = wide * 1.6, deep * 2.2, tall * 1.7
    yaw, behind = rng.uniform(-0.7, 0.7), rng.uniform(0.95, 1.3)
    x, z = turn_level(rng.uniform(-0.35, 0.35), deep - behind, yaw)
    walls, above = [painter.tone(color) for color in palette.walls], painter.tone(palette.ceiling)
    contrasts = (0.5, 0.25)
    if rng.random() < PLAIN_HALLS:
        walls, contrasts = [shade(color, rng.uniform(0.4, 0.95)) for color in walls], (0.1, 0.06)
        above = shade(above, rng.uniform(0.3, 0.95))
    first, second = (
        painter.coat(WALLS, color, rng.uniform(0.6, 1.6), contrasts[0], True) for color in walls
    )
    other = first if walls[0] == walls[1] else second
    ceiling = painter.coat({"noise": 1}, above, 2.0, contrasts[1])
    ground = painter.coat(FLOORS, painter.tone(palette.ground), rng.uniform(0.35, 1.1), 0.8)
    shell = Shell(
        center=(x, floor - tall, z),
        half=(wide, tall, deep),
        yaw=yaw,
        dome=NO_SKY,
        materials=(ground, ceiling, first, other, ceiling),
    )
    return Surroundings(shell, _fixtures(painter, shell, floor), _hall_light(painter, shell))


def _hall_light(painter: PhotoPainter, shell: Shell) -> Light:
    """A lamp that leaves the corners dark, or sunlight."""
    rng, palette = painter.rng, painter.palette
    wall, ground = painter.tone(palette.walls[0]), painter.tone(palette.ground)
    tint = (1.0, rng.uniform(0.75, 1.0), rng.uniform(0.5, 0.95))
    around = rng.uniform(0.14, 0.55)
    position, strength, reach = far_sun(rng, 25, 60), rng.uniform(1.0, 2.4), 1e6
    if rng.random() < 0.6:
        ceiling = shell.center[1] - shell.half[1]
        position = (rng.uniform(-1, 1), 0.85 * ceiling, rng.uniform(-0.4, 1.5))
        strength, reach = rng.uniform(2.2, 4.0), rng.uniform(0.9, 2.2)
    return Light(
        position=position,
        color=linear(tint, strength),
        above=linear(wall, around, whiteness=0.6),
        below=linear(ground, 0.8 * around, whiteness=0.3),
        haze=linear(wall, 0.5, whiteness=0.3),
        density=rng.uniform(0.0, 0.03),
        softness=rng.uniform(0.03, 0.25),
        reach=reach,
    )


def _fixtures(painter: PhotoPainter, shell: Shell, floor: float) -> tuple[Solid, ...]:
    """A rug, and windows, pictures, boards and doors on the walls that the camera sees."""
    rng, fixtures = painter.rng, []
    if rng.random() < 0.5:
        half = (rng.uniform(0.35, 0.8), 0.004, rng.uniform(0.3, 0.6))
        place = (rng.uniform(-0.3, 0.3), floor - 0.004, rng.uniform(1.0, 1.5))
        rug = painter.coat({"stripes": 1, "leaves": 2, "noise": 1}, painter.item(), 0.6)
        fixtures.append(Solid("box", place, half, rug, shell.yaw))
    for _ in range(int(rng.integers(1, 5))):
        fixtures.append(_hung(painter, shell, floor))
    return tuple(fixtures)


def _hung(painter: PhotoPainter, shell: Shell, floor: float) -> Solid:
    """A window, picture, board or door on a wall."""
    rng, tall = painter.rng, shell.half[1]
    kind = rng.integers(4)
    half = (rng.uniform(0.12, 0.4), rng.uniform(0.1, 0.3), 0.014)
    y = shell.center[1] - rng.uniform(-0.25, 0.4) * tall
    coat = painter.coat(SIGNS, painter.item(), rng.uniform(0.3, 0.9), 1.3)
    if kind == 0:
        sky = painter.tone(painter.palette.horizon)
        coat = replace(
            painter.coat({**SKIES, **PLANTS}, sky, 0.8, 0.7), glow=rng.uniform(0.5, 0.95)
        )
    elif kind == 1:
        half = (rng.uniform(0.18, 0.28), min(0.45, 0.7 * tall), 0.02)
        y, coat = floor - half[1], painter.coat(FLOORS, painter.item(), 0.5, 0.6)
    elif kind == 2:
        half = (half[0], 0.015, 0.07)
    along, far = rng.uniform(-0.7, 0.7), rng.random() < 0.6
    side = 1 if rng.random() < 0.5 else -1
    return on_wall(shell, half, coat, y=y, along=along, side=0 if far else side)


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
