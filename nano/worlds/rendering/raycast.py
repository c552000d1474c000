"""Intersections of rays with the solids of scenes.

Points and directions are three planes `(x, y, z)` in scene coordinates (y down, floor level). Row
`camera` of a scene is one frame: its solids stand where they are at the frame's time.
"""

from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..shapes import (
    SHAPES,
    Planes,
    Rays,
    Rows,
    Scalars,
    Shape,
    Vectors,
    box_interval,
    solid_axis,
    sphere_interval,
    spread,
    vectors,
)

Solids: TypeAlias = Float[Tensor, "camera 8 _"]

# Kinds in `CastScene.table`: the shapes in their order, then the shell.
BOX, CYLINDER, SPHERE, SHELL = range(4)


@dataclass(frozen=True)
class Part:
    """The solids of one shape in each row of a scene; the numbers broadcast over rays."""

    shape: Shape
    start: int
    center: Vectors
    half: Vectors
    cos: Scalars
    sin: Scalars

    def turned(self, vector: Vectors) -> Vectors:
        """Directions in the solids' own axes."""
        x, y, z = vector
        if not self.shape.turns:
            return vector
        across = torch.addcmul(self.cos * x, self.sin, z, value=-1)
        return across, y, torch.addcmul(self.sin * x, self.cos, z)

    def local(self, point: Vectors) -> Vectors:
        """Points in the solids' own coordinates."""
        (x, y, z), center = point, self.center
        return self.turned((x - center[0], y - center[1], z - center[2]))


@dataclass(frozen=True)
class CastScene(Rows):
    """Worlds at given times, a row for each camera.

    A shell encloses each world: the inside of a box (floor, ceiling, walls) cut by the inside of a
    sphere of radius `dome` about the origin (the sky). Each solid and the shell's box is centre,
    half extents, cosine and sine of the yaw. `materials` has a column for each solid, then those
    of the shell; `light` is `Light.row` of each camera. Only the first `casters` solids of each
    shape cast shadows, all if it is None.
    """

    boxes: Solids
    cylinders: Solids
    spheres: Solids
    shell_box: Float[Tensor, "camera 8 1"]
    dome: Float[Tensor, "camera 1"]
    materials: Float[Tensor, "camera 20 material"]
    light: Float[Tensor, "camera 18"]
    casters: tuple[int, int, int] | None = None

    @property
    def solids(self) -> tuple[Solids, Solids, Solids]:
        """The solids of each shape, in the order of `SHAPES`."""
        return self.boxes, self.cylinders, self.spheres

    @property
    def size(self) -> int:
        """The number of solids, padding included."""
        return sum(numbers.shape[2] for numbers in self.solids)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The solids of each shape, without empty shapes."""
        return self._parts(None)

    @property
    def casting_parts(self) -> tuple[Part, ...]:
        """The solids that cast shadows."""
        return self._parts(self.casters)

    def _parts(self, most: tuple[int, int, int] | None) -> tuple[Part, ...]:
        parts, start = [], 0
        for kind, (shape, numbers) in enumerate(zip(SHAPES, self.solids, strict=True)):
            if numbers.shape[2] > 0:
                some = numbers if most is None else numbers[:, :, : most[kind]]
                parts.append(_part(shape, start, some))
            start += numbers.shape[2]
        return tuple(parts)

    @property
    def shell(self) -> Part:
        """The box of the shell; its index follows the last solid's."""
        return _part(SHAPES[BOX], self.size, self.shell_box)

    @property
    def table(self) -> Float[Tensor, "camera 9 entry"]:
        """The numbers and, in the last row, the kinds of all solids and of the shell."""
        groups = [*self.solids, self.shell_box]
        kinds = [torch.full_like(numbers[:, :1], kind) for kind, numbers in enumerate(groups)]
        return torch.cat([torch.cat(groups, dim=2), torch.cat(kinds, dim=2)], dim=1)


def _part(shape: Shape, start: int, numbers: Solids) -> Part:
    # A dimension for the rays stands beside that of the solids.
    columns = numbers.movedim(1, 0).unsqueeze(4 - solid_axis())
    center, half = vectors(columns[:3]), vectors(columns[3:6])
    return Part(shape, start, center=center, half=half, cos=columns[6], sin=columns[7])


@dataclass(frozen=True)
class Hits:
    """The nearest surface along each ray: ray parameter and solid (the shell follows the last)."""

    t: Rays
    solid: Int[Tensor, "camera ray"]


def trace(scene: CastScene, origin: Float[Tensor, "3 camera"], direction: Planes) -> Hits:
    """Nearest hits of rays that start inside the shell and outside every solid.

    The ray parameter `t` is the camera z of the hit if that of `direction` is 1.
    """
    start, along, axis = spread(origin[..., None]), spread(direction), solid_axis()
    # Rays that start inside hit the shell where they leave its box or its sphere.
    _, shell = box_interval(scene.shell.local(start), scene.shell.turned(along), scene.shell.half)
    radius = scene.dome[:, None]
    _, sky = sphere_interval(start, along, (radius, radius, radius))
    t = torch.minimum(shell, sky).squeeze(axis)
    solid = torch.full_like(t, scene.size, dtype=torch.int64)
    for part in scene.parts:
        near, far = part.shape.interval(part.local(start), part.turned(along), part.half)
        # A miss, or a hit behind the origin, which lies in no solid.
        entry = near.masked_fill((near >= far) | (near <= 0), torch.inf)
        nearest, index = entry.min(dim=axis)
        solid = torch.where(nearest < t, index + part.start, solid)
        t = torch.minimum(t, nearest)
    return Hits(t, solid)
