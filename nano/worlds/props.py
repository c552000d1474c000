"""Things that stand in a world, made of one to three solids around their foot at (0, 0).

Heights count upwards here; the layout turns them into scene coordinates.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import numpy as np

from .palettes import shade
from .rendering.materials import Material, Painter, choose
from .shapes import Triple, scaled


@dataclass(frozen=True)
class Solid:
    """A box, cylinder or sphere: its centre, half extents, turn and paint."""

    shape: str
    center: Triple
    half: Triple
    material: Material
    yaw: float = 0.0

    @property
    def top(self) -> float:
        """Height of the highest point."""
        return self.center[1] + self.half[1]

    def scaled(self, factor: float) -> "Solid":
        """The same solid when every length is multiplied by `factor`."""
        center, half = scaled(self.center, factor), scaled(self.half, factor)
        return replace(self, center=center, half=half, material=self.material.scaled(factor))

    def moved(self, x: float, z: float) -> "Solid":
        """The same solid elsewhere on the floor."""
        return replace(self, center=(self.center[0] + x, self.center[1], self.center[2] + z))

    def grounded(self, floor: float) -> "Solid":
        """The same solid in scene coordinates: its height above the floor becomes y."""
        return replace(self, center=(self.center[0], floor - self.center[1], self.center[2]))

    @property
    def radius(self) -> float:
        """Radius of the upright cylinder around the solid."""
        return float(np.hypot(self.half[0], self.half[2])) if self.shape == "box" else self.half[0]


@dataclass(frozen=True)
class Prop:
    """Solids that stand and move together."""

    solids: tuple[Solid, ...]

    @property
    def radius(self) -> float:
        """Radius of the upright cylinder around the foot that holds every solid."""
        offsets = [float(np.hypot(solid.center[0], solid.center[2])) for solid in self.solids]
        return max(part.radius + off for part, off in zip(self.solids, offsets, strict=True))

    @property
    def height(self) -> float:
        """Height of the highest point."""
        return max(solid.top for solid in self.solids)


def _box(painter: Painter, half: Triple, base: float = 0.0) -> Solid:
    yaw, center = painter.rng.uniform(-0.8, 0.8), (0.0, base + half[1], 0.0)
    return Solid(shape="box", center=center, half=half, yaw=yaw, material=painter.flat(half[1]))


def _cylinder(painter: Painter, radius: float, height: float, base: float = 0.0) -> Solid:
    center, half = (0.0, base + height, 0.0), (radius, height, radius)
    material = painter.round(radius, height)
    return Solid(shape="cylinder", center=center, half=half, yaw=0.0, material=material)


def _ball(painter: Painter, radius: float, base: float = 0.0) -> Solid:
    center, half = (0.0, base + radius, 0.0), (radius, radius, radius)
    yaw, material = painter.rng.uniform(-3, 3), painter.round(radius, radius)
    return Solid(shape="sphere", center=center, half=half, yaw=yaw, material=material)


def _rider(painter: Painter, room: float, base: float) -> Solid:
    """A small solid on a flat top with free radius `room`."""
    rng, size = painter.rng, room * painter.rng.uniform(0.6, 0.9)
    kind = rng.integers(3)
    if kind == 0:
        return _ball(painter, size, base)
    if kind == 1:
        return _cylinder(painter, 0.8 * size, size * rng.uniform(0.6, 1.4), base)
    return _box(painter, (0.75 * size, size * rng.uniform(0.5, 1.1), 0.75 * size), base)


def block(painter: Painter, size: float) -> Prop:
    """A box."""
    wide, tall, deep = size * painter.rng.uniform((0.7, 0.7, 0.7), (1.2, 1.7, 1.2))
    return Prop((_box(painter, (float(wide), float(tall), float(deep))),))


def ball(painter: Painter, size: float) -> Prop:
    """A sphere."""
    return Prop((_ball(painter, size * painter.rng.uniform(0.9, 1.25)),))


def can(painter: Painter, size: float) -> Prop:
    """A cylinder, from flat to tall."""
    rng = painter.rng
    return Prop((_cylinder(painter, size * rng.uniform(0.6, 1.1), size * rng.uniform(0.6, 2.0)),))


def stack(painter: Painter, size: float) -> Prop:
    """A block or a can with a smaller solid on it."""
    below = (block if painter.rng.random() < 0.6 else can)(painter, size).solids[0]
    room = min(below.half[0], below.half[2])
    return Prop((below, _rider(painter, room, below.top)))


def table(painter: Painter, size: float) -> Prop:
    """A slab on a leg with a solid on it."""
    rng = painter.rng
    leg = _cylinder(painter, 0.25 * size, size * rng.uniform(0.5, 0.9))
    top = _box(painter, (1.2 * size, 0.1 * size, size * rng.uniform(0.8, 1.2)), leg.top)
    return Prop((leg, top, _rider(painter, 0.6 * size, top.top)))


def step(painter: Painter, size: float) -> Prop:
    """A low slab with a solid on it."""
    slab = _box(painter, (1.3 * size, 0.2 * size, size * painter.rng.uniform(0.8, 1.3)))
    return Prop((slab, _rider(painter, 0.75 * size, slab.top)))


def panel(painter: Painter, size: float) -> Prop:
    """An upright slab."""
    tall = size * painter.rng.uniform(1.0, 1.8)
    return Prop((_box(painter, (1.2 * size, tall, 0.15 * size)),))


def pillar(painter: Painter, size: float) -> Prop:
    """A thin tall cylinder, with or without a ball on it."""
    post = _cylinder(painter, 0.35 * size, 2 * size)
    if painter.rng.random() < 0.5:
        return Prop((post,))
    return Prop((post, _ball(painter, 0.6 * size, post.top)))


def tree(painter: Painter, size: float) -> Prop:
    """A trunk with a round crown."""
    rng = painter.rng
    trunk = _cylinder(painter, 0.18 * size, size * rng.uniform(0.7, 1.1))
    bark = painter.tone((rng.uniform(0.35, 0.55), rng.uniform(0.25, 0.35), rng.uniform(0.15, 0.25)))
    trunk = replace(trunk, material=replace(trunk.material, a=bark, b=shade(bark, -0.3)))
    crown = _ball(painter, size * rng.uniform(0.85, 1.1), trunk.top - 0.25 * size)
    color = painter.tone((rng.uniform(0.25, 0.45), rng.uniform(0.42, 0.58), rng.uniform(0.15, 0.3)))
    leaves = replace(crown.material, pattern="noise", a=color, b=shade(color, -0.35))
    return Prop((trunk, replace(crown, material=replace(leaves, noise_frequency=1.6))))


AnyPainter = TypeVar("AnyPainter", bound=Painter)
Weights: TypeAlias = Mapping[Callable[[AnyPainter, float], Prop], float]
INDOORS: Weights[Painter] = {
    block: 3, ball: 3, can: 2.5, stack: 2, table: 1.2, step: 1, panel: 0.8, pillar: 1
}  # fmt: skip
OUTDOORS: Weights[Painter] = {
    block: 3, ball: 2, can: 2, stack: 2, step: 1, panel: 0.7, pillar: 1.2, tree: 3
}  # fmt: skip
HEROES: Weights[Painter] = {block: 2, ball: 2, can: 2, stack: 2.5, table: 1.5, step: 1, tree: 0.7}


def draw_prop(painter: AnyPainter, weights: Weights[AnyPainter], size: float) -> Prop:
    """A random thing, chosen by `weights`, with a half width of about `size`."""
    return list(weights)[choose(painter.rng, list(weights.values()))](painter, size)
