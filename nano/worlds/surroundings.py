"""Surroundings of a world: a room with fixtures or open ground under a sky, and the light.

Scene coordinates: the default camera's centre is the origin, y points down, the camera looks
along +z; the floor is at y = `floor` > 0.
"""

import math
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from .palettes import Color
from .props import Solid
from .rendering.lighting import Light
from .rendering.materials import FLOORS, GAMMA, GROUNDS, OBJECTS, WALLS, Material, Painter
from .shapes import Triple, scaled

# Open ground ends where the sky begins: every depth is finite and exact.
SKY_RADIUS = 20.0
NO_SKY = 1000.0


@dataclass(frozen=True)
class Shell:
    """The inside of a turned box, cut by a sphere of radius `dome` around the origin.

    Materials: floor, ceiling, walls along local x, walls along local z, sky.
    """

    center: Triple
    half: Triple
    yaw: float
    dome: float
    materials: tuple[Material, ...]

    def scaled(self, factor: float) -> "Shell":
        """The same shell when every length is multiplied by `factor`; the sky keeps its radius."""
        center, half = scaled(self.center, factor), scaled(self.half, factor)
        materials = tuple(material.scaled(factor) for material in self.materials)
        return replace(self, center=center, half=half, materials=materials)

    def contains(self, points: Float[np.ndarray, "point 3"], margin: float) -> bool:
        """Whether all points lie inside the box, at least `margin` from its faces."""
        x, y, z = (points - np.array(self.center)).T
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        local = np.stack((cos * x - sin * z, y, sin * x + cos * z))
        return bool((np.abs(local) <= np.array(self.half)[:, None] - margin).all())


@dataclass(frozen=True)
class Surroundings:
    """The shell, the solids fixed to it, and the light."""

    shell: Shell
    fixtures: tuple[Solid, ...]
    light: Light

    def scaled(self, factor: float) -> "Surroundings":
        """The same surroundings when every length is multiplied by `factor`."""
        fixtures = tuple(solid.scaled(factor) for solid in self.fixtures)
        return Surroundings(self.shell.scaled(factor), fixtures, self.light.scaled(factor))


def linear(color: Color, gain: float, whiteness: float = 0.0) -> Color:
    """A palette's colour as light: linear, mixed with white, times `gain`."""
    red, green, blue = (gain * (part**GAMMA + (1 - part**GAMMA) * whiteness) for part in color)
    return red, green, blue


def far_sun(rng: np.random.Generator, lowest: float, highest: float) -> Triple:
    """A far position of the sun, to the side or behind, `lowest` to `highest` degrees up."""
    height, side = math.radians(rng.uniform(lowest, highest)), math.radians(rng.uniform(45, 155))
    side *= 1 if rng.random() < 0.5 else -1
    level = 100 * math.cos(height)
    return level * math.sin(side), -100 * math.sin(height), level * math.cos(side)


def turn_level(x: float, z: float, yaw: float) -> tuple[float, float]:
    """A point (x, z) of a turned box in scene directions."""
    return math.cos(yaw) * x + math.sin(yaw) * z, math.cos(yaw) * z - math.sin(yaw) * x


def open_shell(floor: float, radius: float, *, surface: Material, sky: Material) -> Shell:
    """Ground of one material under a sky of `radius`."""
    # The box just holds the sky: a larger one costs precision of the floor's depth.
    return Shell(
        center=(0.0, floor - 0.8 * radius, 0.0),
        half=(1.6 * radius, 0.8 * radius, 1.6 * radius),
        yaw=0.0,
        dome=radius,
        materials=(surface, surface, surface, surface, sky),
    )


def on_wall(
    shell: Shell, half: Triple, material: Material, *, y: float, along: float, side: int
) -> Solid:
    """A flat thing on the wall ahead (`side` 0) or at a side (-1, 1), `along` it in [-1, 1]."""
    wide, _, deep = shell.half
    x, z, turn = along * wide, deep - half[2], 0.0
    if side:
        x, z, turn = (wide - half[2]) * side, abs(along) * deep, math.pi / 2
    x, z = turn_level(x, z, shell.yaw)
    center = (x + shell.center[0], y, z + shell.center[2])
    return Solid(shape="box", center=center, half=half, yaw=shell.yaw + turn, material=material)


def draw_ground(painter: Painter, floor: float) -> Surroundings:
    """Open ground under a sky with hills and haze at the horizon."""
    rng, palette = painter.rng, painter.palette
    ground = painter.tone(palette.ground)
    horizon, zenith = painter.tone(palette.horizon), painter.tone(palette.zenith)
    surface = painter.draw(GROUNDS, ground)
    # At a negative level no hill is visible.
    hills = rng.uniform(0.02, 0.1) if rng.random() < 0.7 else -1.0
    sky = Material(
        pattern="sky",
        a=zenith,
        b=horizon,
        level=hills,
        noise_frequency=rng.uniform(0.12, 0.3),
        mottle=rng.uniform(0.3, 0.9) if rng.random() < 0.7 else 0.0,
        glow=1.0,
        offset=tuple(rng.uniform(0, 1, 3).tolist()),
    )
    shell = open_shell(floor, SKY_RADIUS, surface=surface, sky=sky)
    strength = rng.uniform(1.5, 2.2)
    light = Light(
        position=far_sun(rng, 25, 65),
        color=linear((1.0, rng.uniform(0.88, 1.0), rng.uniform(0.75, 0.95)), strength),
        above=linear(zenith, rng.uniform(0.42, 0.55), whiteness=0.4),
        below=linear(ground, 0.45, whiteness=0.15),
        haze=linear(horizon, 0.9),
        density=rng.uniform(0.04, 0.1),
        softness=rng.uniform(0.04, 0.16),
        reach=1e6,
    )
    return Surroundings(shell, (), light)


def draw_room(painter: Painter, floor: float) -> Surroundings:
    """A room with painted walls, perhaps a window, pictures and a rug."""
    rng, palette = painter.rng, painter.palette
    wide, deep, tall = rng.uniform((1.4, 1.9, 0.6), (2.4, 2.6, 0.95)).tolist()
    yaw, behind = rng.uniform(-0.6, 0.6), rng.uniform(0.95, 1.3)
    # The camera's distance from the wall behind it is `behind`, in the room's own axes.
    x, z = turn_level(rng.uniform(-0.35, 0.35), deep - behind, yaw)
    ground = painter.draw(FLOORS, painter.tone(palette.ground))
    walls = [painter.draw(WALLS, painter.tone(color)) for color in palette.walls]
    ceiling = painter.plain(painter.tone(palette.ceiling))
    # Walls of one colour have one pattern.
    other = walls[0] if palette.walls[0] == palette.walls[1] else walls[1]
    shell = Shell(
        center=(x, floor - tall, z),
        half=(wide, tall, deep),
        yaw=yaw,
        dome=NO_SKY,
        materials=(ground, ceiling, walls[0], other, ceiling),
    )
    return Surroundings(shell, _fixtures(painter, shell, floor), _indoor_light(painter, shell))


def _indoor_light(painter: Painter, shell: Shell) -> Light:
    """A lamp under the ceiling, or sunlight."""
    rng, palette = painter.rng, painter.palette
    wall, ground = painter.tone(palette.walls[0]), painter.tone(palette.ground)
    tint = (1.0, rng.uniform(0.86, 1.0), rng.uniform(0.7, 0.95))
    if rng.random() < 0.5:
        ceiling = shell.center[1] - shell.half[1]
        position = (rng.uniform(-0.8, 0.8), 0.9 * ceiling, rng.uniform(-0.3, 1.3))
        strength, reach = rng.uniform(2.3, 3.2), rng.uniform(1.4, 2.2)
    else:
        position, strength, reach = far_sun(rng, 30, 60), rng.uniform(1.3, 1.8), 1e6
    return Light(
        position=position,
        color=linear(tint, strength),
        above=linear(wall, rng.uniform(0.42, 0.58), whiteness=0.6),
        below=linear(ground, 0.5, whiteness=0.3),
        haze=linear(wall, 0.5, whiteness=0.3),
        density=rng.uniform(0.0, 0.04),
        softness=rng.uniform(0.08, 0.25),
        reach=reach,
    )


def _fixtures(painter: Painter, shell: Shell, floor: float) -> tuple[Solid, ...]:
    rng, fixtures = painter.rng, []
    if rng.random() < 0.4:
        half = (rng.uniform(0.35, 0.7), 0.004, rng.uniform(0.3, 0.55))
        place = (rng.uniform(-0.3, 0.3), floor - 0.004, rng.uniform(1.0, 1.4))
        rug = replace(painter.draw(OBJECTS, painter.item(), mixing=0.3), aspect=1.0)
        yaw = shell.yaw if rng.random() < 0.6 else rng.uniform(-1, 1)
        fixtures.append(Solid(shape="box", center=place, half=half, yaw=yaw, material=rug))
    if rng.random() < 0.5:
        half = (rng.uniform(0.2, 0.4), rng.uniform(0.2, 0.32), 0.012)
        pane = Material(
            pattern="gradient",
            a=painter.tone(painter.palette.zenith),
            b=painter.tone(painter.palette.horizon),
            frequency=0.5 / half[1],
            softness=1.0,
            mottle=0.0,
            glow=0.9,
        )
        fixtures.append(_hung(painter, shell, half, pane))
    if rng.random() < 0.5:
        half = (rng.uniform(0.15, 0.3), rng.uniform(0.12, 0.25), 0.015)
        material = painter.draw(OBJECTS, painter.item(), mixing=0.7)
        fixtures.append(_hung(painter, shell, half, material))
    return tuple(fixtures)


def _hung(painter: Painter, shell: Shell, half: Triple, material: Material) -> Solid:
    """A flat thing on one of the walls that the camera sees."""
    rng = painter.rng
    along, height = rng.uniform(-0.6, 0.6), rng.uniform(-0.15, 0.25) * shell.half[1]
    side = 0
    if rng.random() >= 0.6:
        side = 1 if rng.random() < 0.5 else -1
    return on_wall(shell, half, material, y=shell.center[1] - height, along=along, side=side)
