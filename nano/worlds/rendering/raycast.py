"""Rays against the solids of scenes: what is hit where.

Points and directions are three planes `(x, y, z)` in scene coordinates (y down, floor level). Row
`camera` of a scene is one frame: its solids stand where they are at the frame's time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..shapes import (
    SHAPES,
    Planes,
    Rays,
    Scalars,
    Shape,
    Vectors,
    box_interval,
    sphere_interval,
)

Solids: TypeAlias = Float[Tensor, "camera 8 _"]

# Kinds in `CastScene.table`: the shapes in their order, then the shell.
BOX, CYLINDER, SPHERE, SHELL = range(4)


def solid_axis() -> int:
    """Where the dimension of the solids stands: before the rays, or after them when compiled.

    Eager kernels like long inner loops; a compiler fuses a sum over the last dimension with all
    that it is made of, so that nothing of its size is ever stored.
    """
    return 2 if torch.compiler.is_compiling() else 1


def vectors(planes: Float[Tensor, "3 camera *solid_ray"]) -> Vectors:
    """The three components of a tensor, as the shapes take them."""
    x, y, z = planes.unbind(0)
    return x, y, z


def spread(planes: Float[Tensor, "3 camera ray"]) -> Vectors:
    """The three planes, with a dimension for the solids."""
    return vectors(planes.unsqueeze(solid_axis() + 1))


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
class CastScene:
    """Worlds at given times, a row per camera.

    `solids` are the boxes, cylinders and spheres, `shell` what encloses a world: the inside of a
    box (floor, ceiling, walls) cut by the inside of a sphere of radius `dome` about the origin (the
    sky). Each is centre, half extents, cosine and sine of the yaw. `materials` has a column for
    each solid, then those of the shell; `light` is `Light.row` of each camera.
    """

    solids: tuple[Solids, Solids, Solids]
    shell_box: Float[Tensor, "camera 8 1"]
    dome: Float[Tensor, "camera 1"]
    materials: Float[Tensor, "camera 20 material"]
    light: Float[Tensor, "camera 18"]

    @property
    def size(self) -> int:
        """How many solids a ray is tested against."""
        return sum(numbers.shape[2] for numbers in self.solids)

    @property
    def parts(self) -> tuple[Part, ...]:
        """The solids of each shape that there is."""
        parts, start = [], 0
        for shape, numbers in zip(SHAPES, self.solids, strict=True):
            if numbers.shape[2] > 0:
                parts.append(_part(shape, start, numbers))
            start += numbers.shape[2]
        return tuple(parts)

    @property
    def shell(self) -> Part:
        """The box of the shell; its index is that after the last solid."""
        return _part(SHAPES[BOX], self.size, self.shell_box)

    @property
    def table(self) -> Float[Tensor, "camera 9 entry"]:
        """The numbers of all solids and, last, of the shell; below them their kinds."""
        groups = [*self.solids, self.shell_box]
        kinds = [torch.full_like(numbers[:, :1], kind) for kind, numbers in enumerate(groups)]
        return torch.cat([torch.cat(groups, dim=2), torch.cat(kinds, dim=2)], dim=1)

    def map(self, function: Callable[[Tensor], Tensor]) -> "CastScene":
        """The same scene with `function` applied to each tensor."""
        boxes, cylinders, spheres = self.solids
        return CastScene(
            (function(boxes), function(cylinders), function(spheres)),
            function(self.shell_box),
            function(self.dome),
            function(self.materials),
            function(self.light),
        )


def _part(shape: Shape, start: int, numbers: Solids) -> Part:
    # Beside the solids a dimension for the rays.
    columns = numbers.movedim(1, 0).unsqueeze(4 - solid_axis())
    return Part(shape, start, vectors(columns[:3]), vectors(columns[3:6]), columns[6], columns[7])


def make_scene(
    counts: tuple[int, int, int],
    center: Float[Tensor, "camera entry 3"],
    half: Float[Tensor, "camera entry 3"],
    yaw: Float[Tensor, "camera entry"],
    dome: Float[Tensor, " camera"],
    materials: Float[Tensor, "camera 20 material"],
    light: Float[Tensor, "camera 18"],
) -> CastScene:
    """A scene of `counts` boxes, cylinders and spheres and, as the last entry, the shell."""
    turn = torch.stack((yaw.cos(), yaw.sin()), dim=2)
    numbers = torch.cat([center, half, turn], dim=2).mT.contiguous()
    boxes, cylinders, spheres, shell = numbers.split([*counts, 1], dim=2)
    return CastScene((boxes, cylinders, spheres), shell, dome[:, None], materials, light)


@dataclass(frozen=True)
class Hits:
    """The nearest surface along each ray: ray parameter, and solid (their number: the shell)."""

    t: Rays
    solid: Int[Tensor, "camera ray"]


def trace(scene: CastScene, origin: Float[Tensor, "3 camera"], direction: Planes) -> Hits:
    """Nearest hits of rays that start inside the shell and outside every solid.

    The parameter `t` counts in lengths of `direction`: camera z, where its own camera z is 1.
    """
    start, along, axis = spread(origin[..., None]), spread(direction), solid_axis()
    # Seen from inside, the shell is where rays leave its volumes, whichever comes first.
    _, shell = box_interval(scene.shell.local(start), scene.shell.turned(along), scene.shell.half)
    radius = scene.dome[:, None]
    _, sky = sphere_interval(start, along, (radius, radius, radius))
    t = torch.minimum(shell, sky).squeeze(axis)
    solid = torch.full_like(t, scene.size, dtype=torch.int64)
    for part in scene.parts:
        near, far = part.shape.interval(part.local(start), part.turned(along), part.half)
        # Missed, or behind the origin, which lies in no solid.
        entry = near.masked_fill((near >= far) | (near <= 0), torch.inf)
        nearest, index = entry.min(dim=axis)
        solid = torch.where(nearest < t, index + part.start, solid)
        t = torch.minimum(t, nearest)
    return Hits(t, solid)
