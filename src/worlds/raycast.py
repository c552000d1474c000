"""Rays against the solids of scenes: what is hit where.

Points and directions are three planes `(x, y, z)` in scene coordinates (y down, floor level). Row
`camera` of a scene is one frame: its solids stand where they are at the frame's time.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from .shapes import SHAPES, Planes, Rays, Shape, Vectors, box_interval, sphere_interval

# Kinds in `Scene.table`: the shapes in their order, then the shell.
BOX, CYLINDER, SPHERE, SHELL = range(4)


def vectors(planes: Float[Tensor, "3 camera solid ray"]) -> Vectors:
    """The three components of a tensor, as the shapes take them."""
    x, y, z = planes.unbind(0)
    return x, y, z


@dataclass(frozen=True)
class Part:
    """The solids of one shape in each row of a scene; tensors are (camera, solid, 1)."""

    shape: Shape
    start: int
    center: Vectors
    half: Vectors
    cos: Float[Tensor, "camera solid 1"]
    sin: Float[Tensor, "camera solid 1"]

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
class Scene:
    """Worlds at given times, a row per camera; the last entry of `table` is the shell.

    The shell is what encloses a world: the inside of a box (floor, ceiling, walls) cut by the
    inside of a sphere of radius `dome` about the origin (the sky). `table` holds centre, half
    extents, cosine and sine of the yaw, and kind. `materials` has a column for each solid, then
    those of the shell; `light` is `Light.row` of each camera.
    """

    parts: tuple[Part, ...]
    shell: Part
    table: Float[Tensor, "camera 9 entry"]
    dome: Float[Tensor, "camera 1"]
    materials: Float[Tensor, "camera 20 material"]
    light: Float[Tensor, "camera 18"]

    @property
    def size(self) -> int:
        """How many solids a ray is tested against."""
        return self.table.shape[-1] - 1


def make_scene(
    counts: tuple[int, int, int],
    center: Float[Tensor, "camera entry 3"],
    half: Float[Tensor, "camera entry 3"],
    yaw: Float[Tensor, "camera entry"],
    dome: Float[Tensor, " camera"],
    materials: Float[Tensor, "camera 20 material"],
    light: Float[Tensor, "camera 18"],
) -> Scene:
    """A scene of `counts` boxes, cylinders and spheres and, as the last entry, the shell."""
    cos, sin = yaw.cos(), yaw.sin()

    def part(shape: Shape, start: int, stop: int) -> Part:
        where = slice(start, stop)
        return Part(
            shape=shape,
            start=start,
            center=vectors(center[:, where, :, None].movedim(2, 0)),
            half=vectors(half[:, where, :, None].movedim(2, 0)),
            cos=cos[:, where, None],
            sin=sin[:, where, None],
        )

    starts = [sum(counts[:index]) for index in range(4)]
    total = starts[3]
    parts = [part(SHAPES[i], starts[i], starts[i + 1]) for i in range(3) if counts[i] > 0]
    kinds = [kind for kind in (BOX, CYLINDER, SPHERE) for _ in range(counts[kind])] + [SHELL]
    kind = yaw.new_tensor(kinds).expand_as(yaw)
    table = torch.cat([center, half, cos[..., None], sin[..., None], kind[..., None]], dim=-1)
    shell = part(SHAPES[BOX], total, total + 1)
    return Scene(tuple(parts), shell, table.mT.contiguous(), dome[:, None], materials, light)


@dataclass(frozen=True)
class Hits:
    """The nearest surface along each ray: ray parameter, and solid (their number: the shell)."""

    t: Rays
    solid: Int[Tensor, "camera ray"]


def spread(planes: Float[Tensor, "3 camera ray"]) -> Vectors:
    """The three planes, with a dimension for the solids."""
    return vectors(planes[:, :, None])


def trace(scene: Scene, origin: Float[Tensor, "3 camera"], direction: Planes) -> Hits:
    """Nearest hits of rays that start inside the shell and outside every solid.

    The parameter `t` counts in lengths of `direction`: camera z, where its own camera z is 1.
    """
    start, along = spread(origin[..., None]), spread(direction)
    _, shell = box_interval(scene.shell.local(start), scene.shell.turned(along), scene.shell.half)
    radius = scene.dome[:, None]
    _, sky = sphere_interval(start, along, (radius, radius, radius))
    background = torch.minimum(shell, sky)[:, 0]
    entries = []
    for part in scene.parts:
        near, far = part.shape.interval(part.local(start), part.turned(along), part.half)
        entries.append(near.masked_fill((near >= far) | (near <= 0), torch.inf))
    if not entries:
        return Hits(background, torch.full_like(background, scene.size, dtype=torch.int64))
    t, solid = torch.cat(entries, dim=1).min(dim=1)
    return Hits(torch.minimum(t, background), solid.masked_fill(t >= background, scene.size))
