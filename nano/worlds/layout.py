"""Layouts of worlds, before they become tensors: things, their places and motions, the camera.

Scene coordinates: the default camera's centre is the origin, y points down, the floor is level;
the camera looks along +z, turned down by `pitch`. The hero stands near depth 1, other things around
it and off the cameras' paths. Things move along smooth paths in closed form: at time 0 each is at
its place; times lie in [0, 1].
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .palettes import FAMILIES, draw_palette
from .props import HEROES, INDOORS, OUTDOORS, Prop, Solid, Weights, draw_prop
from .rendering.materials import Painter
from .shapes import Triple
from .surroundings import Surroundings, draw_ground, draw_room

FEWEST_SOLIDS, MOST_SOLIDS = 4, 10
TRIES = 60
# The least gap between things, and between a thing and a wall.
GAP = 0.03
# The least distance of a thing from the default camera.
NEAREST = 0.6
INDOOR_SHARE = 0.6


@dataclass(frozen=True)
class Motion:
    """A sway along `sine` and `cosine` (together an arc), hops upwards, and a turn about y.

    Offset: `sine (sin(w t + phase) - sin phase) + cosine (cos(w t + phase) - cos phase)` with
    `w = 2 pi rate`, and `hop sin^2(pi hops t)` upwards. `spin` is in radians per unit of time.
    """

    sine: Triple = (0.0, 0.0, 0.0)
    cosine: Triple = (0.0, 0.0, 0.0)
    rate: float = 0.0
    phase: float = 0.0
    hop: float = 0.0
    hops: float = 0.0
    spin: float = 0.0

    def row(self) -> list[float]:
        """The 11 numbers, in the order that `displacement` unpacks."""
        return [*self.sine, *self.cosine, self.rate, self.phase, self.hop, self.hops, self.spin]

    def offsets(self, times: Float[np.ndarray, " time"]) -> Float[np.ndarray, "time 3"]:
        """Offsets at `times` from the place at time 0."""
        rows = torch.tensor(self.row(), dtype=torch.float64).expand(len(times), 1, -1)
        return displacement(rows, torch.from_numpy(times)[:, None])[0][:, 0].numpy()


STILL = Motion()


def displacement(
    motion: Float[Tensor, "*batch solid 11"], time: Float[Tensor, "*batch 1"]
) -> tuple[Float[Tensor, "*batch solid 3"], Float[Tensor, "*batch solid"]]:
    """Offsets from the places at time 0, and turns about y in radians."""
    sine, cosine, numbers = motion.split([3, 3, 5], dim=-1)
    rate, phase, hop, hops, spin = numbers.unbind(-1)
    angle = 2 * math.pi * rate * time + phase
    along_sine, along_cosine = angle.sin() - phase.sin(), angle.cos() - phase.cos()
    offset = sine * along_sine[..., None] + cosine * along_cosine[..., None]
    lift = torch.zeros_like(offset)
    # The y axis points down.
    lift[..., 1] = -hop * (math.pi * hops * time).sin().square()
    return offset + lift, spin * time


def draw_motion(rng: np.random.Generator, reach: float, hops: bool) -> Motion:
    """A random motion of about `reach` to either side; with `hops` it may leave the floor."""
    heading, spin = rng.uniform(0, 2 * math.pi), rng.uniform(-2.5, 2.5)
    x, z = reach * math.cos(heading), reach * math.sin(heading)
    rate, phase = rng.uniform(0.4, 0.9), rng.uniform(-0.5, 0.5)
    kind = rng.integers(4 if hops else 2)
    if kind == 0:
        return Motion(sine=(x, 0, z), rate=rate, phase=phase, spin=spin)
    if kind == 1:
        arc = 0.6 * (1 if spin > 0 else -1)
        sine, cosine = (arc * x, 0, arc * z), (-0.6 * z, 0, 0.6 * x)
        return Motion(sine=sine, cosine=cosine, rate=rate, phase=phase, spin=spin)
    if kind == 2:
        return Motion(hop=rng.uniform(0.6, 1.0) * reach, hops=float(rng.integers(1, 3)), spin=spin)
    hop, count = 0.5 * reach, float(rng.integers(1, 4))
    return Motion(sine=(0.6 * x, 0, 0.6 * z), rate=rate, phase=phase, hop=hop, hops=count)


@dataclass(frozen=True)
class Standing:
    """A thing, its place, and its motion."""

    prop: Prop
    x: float
    z: float
    motion: Motion = STILL


@dataclass(frozen=True)
class Layout:
    """A world in scene units; angles in radians, `field_of_view` horizontal."""

    standing: tuple[Standing, ...]
    surroundings: Surroundings
    floor: float
    pitch: float
    field_of_view: float

    def scaled(self, factor: float) -> "Layout":
        """The same world without motions when every length is multiplied by `factor`."""
        props = [
            Prop(tuple(s.scaled(factor) for s in thing.prop.solids)) for thing in self.standing
        ]
        standing = tuple(
            Standing(prop, thing.x * factor, thing.z * factor)
            for prop, thing in zip(props, self.standing, strict=True)
        )
        surroundings, floor = self.surroundings.scaled(factor), self.floor * factor
        return replace(self, standing=standing, surroundings=surroundings, floor=floor)

    def placed(self) -> list[tuple[Solid, Motion]]:
        """Every solid in scene coordinates, with its motion."""
        placed = [(solid, STILL) for solid in self.surroundings.fixtures]
        for thing in self.standing:
            for solid in thing.prop.solids:
                here = solid.moved(thing.x, thing.z).grounded(self.floor)
                placed.append((here, thing.motion))
        return placed


def draw_layout(rng: np.random.Generator, family: str, saturation: float) -> Layout:
    """A random still world with a centre depth of about 1; `mixed` is a family at random."""
    names = list(FAMILIES)
    chosen = names[int(rng.integers(len(names)))]
    outdoors = rng.random() >= INDOOR_SHARE
    palette = draw_palette(rng, chosen if family == "mixed" else family, outdoors)
    painter = Painter(rng, palette, saturation)
    hero = draw_prop(painter, HEROES, rng.uniform(0.09, 0.15))
    # The centre of the picture shows the hero's front, which must be at depth 1.
    distance = 1 + 0.7 * hero.solids[0].half[2]
    aim = hero.height * rng.uniform(0.5, 0.8)
    slope = math.tan(math.radians(rng.uniform(5, 12) if outdoors else rng.uniform(9, 19)))
    floor = min(max(aim + slope * distance, 0.32), 0.62)
    surroundings = (draw_ground if outdoors else draw_room)(painter, floor)
    field_of_view = math.radians(rng.uniform(50, 65))
    first = Standing(hero, rng.uniform(-0.3, 0.3) * hero.solids[0].half[0], distance)
    weights, farthest = (OUTDOORS, 3.4) if outdoors else (INDOORS, 2.5)
    standing = [first]
    spread = math.tan(field_of_view / 2)
    total = int(rng.integers(FEWEST_SOLIDS, MOST_SOLIDS + 1))
    # Places are tried at random: in a crowded world some things find no place.
    for _ in range(TRIES):
        missing = total - sum(len(thing.prop.solids) for thing in standing)
        if missing <= 0:
            break
        thing = _draw_standing(painter, weights, farthest=farthest, spread=spread)
        if len(thing.prop.solids) <= missing and fits(thing, standing, surroundings):
            standing.append(thing)
    return Layout(
        standing=tuple(standing),
        surroundings=surroundings,
        floor=floor,
        pitch=math.atan2(floor - aim, distance),
        field_of_view=field_of_view,
    )


def _draw_standing(
    painter: Painter, weights: Weights[Painter], farthest: float, spread: float
) -> Standing:
    """A thing anywhere in the picture; the picture's half width is `spread` times the depth."""
    rng = painter.rng
    z = rng.uniform(0.75, farthest)
    x = rng.uniform(-0.92, 0.92) * spread * z
    # Far things are larger, so that they stay visible.
    size = rng.uniform(0.07, 0.15) * (0.7 + 0.3 * z)
    return Standing(draw_prop(painter, weights, size), x, z)


def fits(thing: Standing, others: list[Standing], surroundings: Surroundings) -> bool:
    """Whether a thing is apart from the others, inside the room, and hides little of the hero."""
    x, z, radius = thing.x, thing.z, thing.prop.radius
    for other in others:
        if math.hypot(x - other.x, z - other.z) < radius + other.prop.radius + GAP:
            return False
    hero = others[0]
    # On the image plane: a thing before the hero may cover only its edge.
    aside = abs(x / z - hero.x / hero.z) - radius / z
    if z < hero.z + 0.1 and aside < 0.2 * hero.prop.radius:
        return False
    distance = math.hypot(x, z)
    # A thing must not fill the picture or stand at the camera.
    if radius / distance > 0.3 or distance - radius < NEAREST:
        return False
    place = np.array([[x, surroundings.shell.center[1], z]])
    return surroundings.shell.contains(place, radius + GAP)
