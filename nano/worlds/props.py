"""Things that stand in a world, each made of one to three solids, around its own foot at (0, 0).

Heights count upwards here; the layout turns them into scene coordinates.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .palettes import shade
from .rendering.materials import Material, Painter

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Solid:
    """A box, cylinder or sphere: the place of its centre, half extents, turn and paint."""

    shape: str
    center: Triple
    half: Triple
    yaw: float
    material: Material

    @property
    def top(self) -> float:
        """Height of the highest point."""
        return self.center[1] + self.half[1]

    def scaled(self, factor: float) -> "Solid":
        """The same solid when every length is multiplied by `factor`."""
        (x, y, z), (wide, tall, deep) = self.center, self.half
        return replace(
            self,
            center=(x * factor, y * factor, z * factor),
            half=(wide * factor, tall * factor, deep * factor),
            material=self.material.scaled(factor),
        )

    @property
    def radius(self) -> float:
        """Radius of the upright cylinder around the solid."""
        return float(np.hypot(self.half[0], self.half[2])) if self.shape == "box" else self.half[0]


@dataclass(frozen=True)
class Prop:
    """Solids that stand and move together; `radius` around the foot, `height` of the top."""

    solids: tuple[Solid, ...]

    @property
    def radius(self) -> float:
        """Radius of the upright cylinder around the foot that holds every solid."""
        return max(
            solid.radius + float(np.hypot(solid.center[0], solid.center[2]))
            for solid in self.solids
        )

    @property
    def height(self) -> float:
        """Height of the highest point."""
        return max(solid.top for solid in self.solids)


def _box(painter: Painter, half: Triple, base: float = 0.0) -> Solid:
    yaw = painter.rng.uniform(-0.8, 0.8)
    return Solid("box", (0.0, base + half[1], 0.0), half, yaw, painter.flat(half[1]))


def _cylinder(painter: Painter, radius: float, height: float, base: float = 0.0) -> Solid:
    material = painter.round(radius, height)
    return Solid("cylinder", (0.0, base + height, 0.0), (radius, height, radius), 0.0, material)


def _ball(painter: Painter, radius: float, base: float = 0.0) -> Solid:
    yaw, material = painter.rng.uniform(-3, 3), painter.round(radius, radius)
    return Solid("sphere", (0.0, base + radius, 0.0), (radius, radius, radius), yaw, material)


def _rider(painter: Painter, room: float, base: float) -> Solid:
    """Something small on a flat top with free radius `room`."""
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
    """A block or a can with something smaller on it."""
    below = (block if painter.rng.random() < 0.6 else can)(painter, size).solids[0]
    room = min(below.half[0], below.half[2])
    return Prop((below, _rider(painter, room, below.top)))


def table(painter: Painter, size: float) -> Prop:
    """A slab on a leg with something on it."""
    rng = painter.rng
    leg = _cylinder(painter, 0.25 * size, size * rng.uniform(0.5, 0.9))
    top = _box(painter, (1.2 * size, 0.1 * size, size * rng.uniform(0.8, 1.2)), leg.top)
    return Prop((leg, top, _rider(painter, 0.6 * size, top.top)))


def step(painter: Painter, size: float) -> Prop:
    """A low slab with something on it."""
    rng = painter.rng
    slab = _box(painter, (1.3 * size, 0.2 * size, size * rng.uniform(0.8, 1.3)))
    return Prop((slab, _rider(painter, 0.75 * size, slab.top)))


def panel(painter: Painter, size: float) -> Prop:
    """An upright slab."""
    rng = painter.rng
    return Prop((_box(painter, (1.2 * size, size * rng.uniform(1.0, 1.8), 0.15 * size)),))


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


PROPS: dict[str, Callable[[Painter, float], Prop]] = {
    "block": block,
    "ball": ball,
    "can": can,
    "stack": stack,
    "table": table,
    "step": step,
    "panel": panel,
    "pillar": pillar,
    "tree": tree,
}
INDOORS = {"block": 3, "ball": 3, "can": 2.5, "stack": 2, "table": 1.2, "step": 1, "panel": 0.8,
           "pillar": 1}  # fmt: skip
OUTDOORS = {"block": 3, "ball": 2, "can": 2, "stack": 2, "step": 1, "panel": 0.7, "pillar": 1.2,
            "tree": 3}  # fmt: skip
HEROES = {"block": 2, "ball": 2, "can": 2, "stack": 2.5, "table": 1.5, "step": 1, "tree": 0.7}


def draw_prop(painter: Painter, weights: dict[str, float], size: float) -> Prop:
    """A random thing, chosen by `weights`, of half width of about `size`."""
    names = list(weights)
    edges = np.cumsum(list(weights.values()))
    name = names[int(np.searchsorted(edges, painter.rng.random() * edges[-1]))]
    return PROPS[name](painter, size)
