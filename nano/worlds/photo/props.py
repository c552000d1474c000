"""Things of photographs around their foot at (0, 0): people, furniture, trees, houses, fences.

Heights count upwards, as in `nano.worlds.props`.
"""

import math
from dataclasses import replace

import numpy as np

from ..palettes import shade
from ..props import (
    Prop,
    Solid,
    Weights,
    ball,
    block,
    can,
    panel,
    pillar,
    stack,
    step,
    table,
)
from ..shapes import Triple
from .coats import FACADES, PhotoPainter

SKIN = (0.78, 0.57, 0.45)


def cube(half: float) -> Triple:
    """Half the sides of a ball or a cube."""
    return half, half, half


def turned(parts: list[Solid], yaw: float) -> list[Solid]:
    """Solids turned about the foot."""
    cos, sin = math.cos(yaw), math.sin(yaw)
    result = []
    for part in parts:
        x, y, z = part.center
        center = (cos * x + sin * z, y, cos * z - sin * x)
        result.append(replace(part, center=center, yaw=part.yaw + yaw))
    return result


def person(painter: PhotoPainter, size: float) -> Prop:
    """A person four `size` tall: legs, a trunk, and a head with a cap."""
    rng = painter.rng
    tall = 4 * size * rng.uniform(0.85, 1.1)
    legs, trunk = (painter.round(0.08 * tall, 0.2 * tall) for _ in range(2))
    skin = painter.coat({"noise": 1}, shade(SKIN, rng.uniform(-0.6, 0.1)), tall, contrast=0.4)
    hair = painter.coat({"noise": 1}, shade((0.35, 0.25, 0.2), rng.uniform(-0.7, 0.4)), tall)
    wide, gap = rng.uniform(0.085, 0.11) * tall, 0.045 * tall
    parts = [
        Solid("cylinder", (side * gap, 0.23 * tall, 0.0), (gap, 0.23 * tall, gap), legs)
        for side in (-1, 1)
    ]
    parts += [
        Solid("box", (0.0, 0.64 * tall, 0.0), (wide, 0.18 * tall, 0.06 * tall), trunk),
        Solid("sphere", (0.0, 0.9 * tall, 0.0), cube(0.068 * tall), skin),
        Solid("cylinder", (0.0, 0.95 * tall, 0.0), (0.066 * tall, 0.03 * tall, 0.066 * tall), hair),
    ]
    return Prop(tuple(turned(parts, rng.uniform(-1.2, 1.2))))


def tree(painter: PhotoPainter, size: float) -> Prop:
    """A trunk with a crown of one to four balls, or a stack of them like a spruce."""
    rng = painter.rng
    high = size * rng.uniform(0.6, 1.4)
    bark = painter.coat({"noise": 2, "gravel": 1}, painter.tone((0.4, 0.3, 0.22)), size)
    parts = [Solid("cylinder", (0.0, high, 0.0), (0.14 * size, high, 0.14 * size), bark)]
    leaves, base, radius = painter.leafy(1.5 * size), 1.7 * high, size * rng.uniform(0.8, 1.1)
    spruce = rng.random() < 0.3
    for number in range(int(rng.integers(1, 4)) + spruce):
        # The further balls of a crown sit at its side, those of a spruce on top.
        off = 0.6 * size * (number > 0) * (0.1 if spruce else 1)
        angle = rng.uniform(0, 2 * math.pi)
        center = (off * math.cos(angle), base + 0.8 * radius, off * math.sin(angle))
        parts.append(Solid("sphere", center, cube(radius), replace(leaves)))
        base += radius * (1.0 if spruce else rng.uniform(-0.2, 0.5))
        radius *= 0.75
    return Prop(tuple(parts))


def bush(painter: PhotoPainter, size: float) -> Prop:
    """Two or three leafy balls, sunk into the ground."""
    rng = painter.rng
    leaves, parts = painter.leafy(1.2 * size), []
    for _ in range(int(rng.integers(2, 4))):
        x, z = (rng.uniform(-0.6, 0.6, 2) * size).tolist()
        radius = size * rng.uniform(0.5, 0.8)
        parts.append(Solid("sphere", (x, 0.6 * radius, z), cube(radius), leaves))
    return Prop(tuple(parts))


def lamp(painter: PhotoPainter, size: float) -> Prop:
    """A thin pole with a ball or a box on it."""
    rng = painter.rng
    high, thin = size * rng.uniform(2, 4), size * rng.uniform(0.05, 0.12)
    pole = Solid("cylinder", (0.0, high, 0.0), (thin, high, thin), painter.round(thin, high))
    wide = size * rng.uniform(0.2, 0.5)
    top = (0.0, 2 * high + 0.8 * wide, 0.0)
    if rng.random() < 0.5:
        return Prop((pole, Solid("sphere", top, cube(wide), painter.round(wide, wide))))
    half = (wide, 0.8 * wide, 0.08 * size)
    return Prop((pole, Solid("box", top, half, painter.flat(wide), rng.uniform(-0.6, 0.6))))


def legs(painter: PhotoPainter, half: Triple, thin: float) -> list[Solid]:
    """Four thin posts under a rectangle of half extents x and z; the height is 2 `half` y."""
    coat, post = painter.round(thin, half[1]), (thin, half[1], thin)
    x, z = half[0] - thin, half[2] - thin
    feet = [(side * x, half[1], end * z) for side in (-1, 1) for end in (-1, 1)]
    return [Solid("box", foot, post, coat) for foot in feet]


def chair(painter: PhotoPainter, size: float) -> Prop:
    """Four legs, a seat and a back."""
    rng = painter.rng
    wide, high, thin = 0.75 * size, 0.7 * size, 0.06 * size
    coat = painter.flat(size)
    parts = legs(painter, (wide, high / 2, wide), thin)
    parts.append(Solid("box", (0.0, high + thin, 0.0), (wide, thin, wide), coat))
    back = (0.0, high + size * 0.8, wide - thin)
    parts.append(Solid("box", back, (wide, size * 0.7, thin), coat))
    return Prop(tuple(turned(parts, rng.uniform(-math.pi, math.pi))))


def desk(painter: PhotoPainter, size: float) -> Prop:
    """A slab on four thin legs with some small things on it."""
    rng = painter.rng
    wide, deep, high, thin = 1.3 * size, 0.8 * size, 0.6 * size, 0.06 * size
    parts = legs(painter, (wide, high, deep), thin)
    top = 2 * high + 2 * thin
    parts.append(Solid("box", (0.0, top - thin, 0.0), (wide, thin, deep), painter.flat(wide)))
    for _ in range(int(rng.integers(1, 5))):
        half = size * rng.uniform(0.08, 0.28)
        x, z = rng.uniform(-0.8, 0.8) * (wide - half), rng.uniform(-0.7, 0.7) * (deep - half)
        shape = ("box", "cylinder", "sphere")[int(rng.integers(3))]
        coat = painter.flat(half)
        parts.append(Solid(shape, (x, top + half, z), cube(half), coat, rng.uniform(-1, 1)))
    return Prop(tuple(turned(parts, rng.uniform(-0.8, 0.8))))


def sofa(painter: PhotoPainter, size: float) -> Prop:
    """A seat with a back, two arms and two cushions."""
    rng = painter.rng
    coat, wide, deep = painter.flat(1.5 * size), size * rng.uniform(0.9, 1.5), 0.65 * size
    pieces: list[tuple[Triple, Triple]] = [
        ((0.0, 0.28 * size, 0.0), (wide, 0.28 * size, deep)),
        ((0.0, 0.6 * size, 0.85 * deep), (wide, 0.6 * size, 0.22 * deep)),
    ]
    pieces += [
        ((i * wide, 0.42 * size, 0.0), (0.16 * size, 0.42 * size, deep)) for i in (-1.0, 1.0)
    ]
    parts = [Solid("box", center, half, coat) for center, half in pieces]
    for side in (-0.5, 0.5):
        half = (0.25 * size, 0.22 * size, 0.1 * size)
        center = (side * wide, 0.78 * size, 0.45 * deep)
        parts.append(Solid("box", center, half, painter.flat(0.3 * size), rng.uniform(-0.4, 0.4)))
    return Prop(tuple(turned(parts, rng.uniform(-1.0, 1.0))))


def shelf(painter: PhotoPainter, size: float) -> Prop:
    """Boards between two sides, with books and boxes on them."""
    rng = painter.rng
    coat, wide, deep, thin = painter.flat(size), 0.8 * size, 0.25 * size, 0.03 * size
    boards, step = int(rng.integers(2, 4)), size * rng.uniform(0.45, 0.65)
    high = boards * step / 2
    parts = [
        Solid("box", (side * wide, high, 0.0), (thin, high + thin, deep), coat) for side in (-1, 1)
    ]
    for number in range(boards + 1):
        parts.append(Solid("box", (0.0, number * step, 0.0), (wide, thin, deep), coat))
        x = -0.9 * wide
        while number < boards and x < 0.7 * wide:
            half = (size * rng.uniform(0.04, 0.16), step * rng.uniform(0.2, 0.42), 0.8 * deep)
            x += half[0]
            if rng.random() < 0.7:
                center = (x, number * step + thin + half[1], -0.1 * deep)
                parts.append(Solid("box", center, half, painter.flat(half[1])))
            x += half[0] + size * rng.uniform(0.05, 0.5)
    return Prop(tuple(turned(parts, rng.uniform(-0.5, 0.5))))


def house(painter: PhotoPainter, size: float) -> Prop:
    """A block or two with a slab or a smaller block as a roof, and a door."""
    rng = painter.rng
    wide, tall, deep = (size * rng.uniform((0.7, 0.6, 0.7), (1.4, 1.9, 1.3))).tolist()
    wall = painter.coat(FACADES, painter.item(), 2 * size, level=True)
    roof = painter.coat(FACADES, painter.item(), size, level=True)
    parts = [Solid("box", (0.0, tall, 0.0), (wide, tall, deep), wall)]
    eaves = 1 + rng.uniform(0.02, 0.2)
    thick, top = tall * rng.uniform(0.02, 0.12), 2 * tall
    for _ in range(int(rng.integers(1, 3))):
        half = (wide * eaves, thick, deep * eaves)
        parts.append(Solid("box", (0.0, top + thick, 0.0), half, roof))
        eaves, top = eaves * rng.uniform(0.55, 0.85), top + 2 * thick
    door = (wide * 0.15, min(0.3 * tall, 0.4 * size), 0.02 * size)
    where = (rng.uniform(-0.6, 0.6) * wide, door[1], -deep)
    parts.append(Solid("box", where, door, painter.flat(door[1])))
    return Prop(tuple(turned(parts, rng.normal() * 0.4)))


def clutter(painter: PhotoPainter, count: int, spread: float, farthest: float) -> list[Solid]:
    """Small things on the ground, in heaps and alone, in scene directions x and z."""
    rng, parts = painter.rng, []
    coats = [painter.flat(0.04) for _ in range(10)]
    while len(parts) < count:
        z = math.exp(rng.uniform(math.log(0.75), math.log(farthest)))
        x, heap = rng.uniform(-1, 1) * spread * z, int(rng.integers(1, 7))
        size = rng.uniform(0.01, 0.035) * (0.6 + 0.5 * z)
        for _ in range(heap):
            half = (size * np.exp(rng.normal(size=3) * 0.45)).clip(0.006, 0.09).tolist()
            shape = ("box", "box", "cylinder", "sphere")[int(rng.integers(4))]
            if shape != "box":
                half = [half[0], half[1] if shape == "cylinder" else half[0], half[0]]
            off = rng.normal(size=2) * 2.5 * size
            place = (x + float(off[0]), half[1], max(z + float(off[1]), 0.72))
            coat = coats[int(rng.integers(len(coats)))]
            parts.append(Solid(shape, place, tuple(half), coat, rng.uniform(-1.5, 1.5)))
    return parts


def fence(painter: PhotoPainter, start: Triple, length: float, yaw: float) -> list[Solid]:
    """Posts and rails along a line from `start`; or tall poles with cables between them."""
    rng = painter.rng
    tall = rng.random() < 0.4
    step, high = (rng.uniform(0.7, 1.1), rng.uniform(0.8, 1.3)) if tall else (
        rng.uniform(0.22, 0.4), rng.uniform(0.12, 0.25)
    )  # fmt: skip
    thin = rng.uniform(0.006, 0.014)
    post, rail = painter.round(thin, high), painter.flat(0.1)
    count = max(int(length / step), 2)
    heights = (0.93,) if tall else (0.5, 0.9)
    cable = 0.4 * thin if tall else thin
    parts = []
    for number in range(count):
        foot = (number * step, high / 2, 0.0)
        parts.append(Solid("cylinder", foot, (thin, high / 2, thin), post))
        if number + 1 < count:
            for share in heights:
                middle = ((number + 0.5) * step, share * high, 0.0)
                half = (step / 2, 1.3 * cable, cable)
                parts.append(Solid("box", middle, half, rail))
    x, _, z = start
    return [part.moved(x, z) for part in turned(parts, yaw)]


INDOORS: Weights[PhotoPainter] = {
    block: 1, can: 1, ball: 0.7, stack: 1, table: 0.8, step: 0.6, panel: 0.6, chair: 2, desk: 1.5,
    sofa: 1.2, shelf: 0.8, lamp: 1, person: 1, bush: 0.4,
}  # fmt: skip
OUTDOORS: Weights[PhotoPainter] = {
    block: 1, can: 0.7, ball: 0.5, stack: 0.7, panel: 0.5, pillar: 0.8, step: 0.4, person: 2,
    tree: 3, bush: 1.5, lamp: 1, house: 1.2, desk: 0.3,
}  # fmt: skip
HEROES: Weights[PhotoPainter] = {
    block: 1, ball: 0.8, can: 1, stack: 1.5, table: 1, person: 1.5, tree: 0.7, bush: 0.5,
    sofa: 0.7, house: 0.8, desk: 0.5,
}  # fmt: skip
