"""Boxes, upright cylinders and spheres: intersections with rays and distances to points.

All coordinates are local: the origin is the shape's centre, y its vertical axis, `half` its half
extents (the radius of a cylinder or sphere is `half` x). Everything broadcasts over any batch.
Batches are padded with shapes of negative extents, which are never hit.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Scalars: TypeAlias = Float[Tensor, "*#batch"]
Vectors: TypeAlias = tuple[Scalars, Scalars, Scalars]
# A number for each ray of each camera, and three such planes: x, y, z.
Rays: TypeAlias = Float[Tensor, "camera ray"]
Planes: TypeAlias = Float[Tensor, "3 camera ray"]

Index: TypeAlias = slice | Int[Tensor, "..."] | Bool[Tensor, "..."] | tuple[Tensor, ...]
Table = TypeVar("Table", bound="Rows")


@dataclass(frozen=True)
class Rows:
    """A base class of dataclasses: its tensors share their first dimension."""

    def map(self: Table, function: Callable[[Tensor], Tensor]) -> Table:
        """Returns a copy with `function` applied to each tensor; other fields stay."""
        tensors = {name: part for name, part in vars(self).items() if isinstance(part, Tensor)}
        return replace(self, **{name: function(part) for name, part in tensors.items()})

    def __getitem__(self: Table, index: Index) -> Table:
        return self.map(lambda tensor: tensor[index])


def dot(a: Vectors, b: Vectors) -> Scalars:
    """Inner products; fused, since memory traffic bounds the speed of ray casting."""
    return torch.addcmul(torch.addcmul(a[0] * b[0], a[1], b[1]), a[2], b[2])


def solid_axis() -> int:
    """The dimension of the solids: before the rays (1), or after them (2) when compiled.

    Eager kernels are fast with long inner loops; a compiler fuses a sum over the last dimension
    with its terms, which are then never stored.
    """
    return 2 if torch.compiler.is_compiling() else 1


def vectors(planes: Float[Tensor, "3 camera *solid_ray"]) -> Vectors:
    """The three components of a tensor."""
    x, y, z = planes.unbind(0)
    return x, y, z


def spread(planes: Float[Tensor, "3 camera ray"]) -> Vectors:
    """The three planes, with a dimension for the solids."""
    return vectors(planes.unsqueeze(solid_axis() + 1))


Triple = tuple[float, float, float]
# Keeps the division by a direction's component finite; far below the rounding of any other value.
TINY = 1e-12


def scaled(triple: Triple, factor: float) -> Triple:
    """The three numbers times `factor`."""
    x, y, z = triple
    return x * factor, y * factor, z * factor


def _slab(origin: Scalars, direction: Scalars, half: Scalars) -> tuple[Scalars, Scalars]:
    inverse = (-TINY - direction).reciprocal()
    middle = origin * inverse
    reach = half * inverse.abs()
    return middle - reach, middle + reach


def box_interval(origin: Vectors, direction: Vectors, half: Vectors) -> tuple[Scalars, Scalars]:
    """Ray parameters of the entry into a box and of the exit; a ray that misses exits first."""
    x_near, x_far = _slab(origin[0], direction[0], half[0])
    y_near, y_far = _slab(origin[1], direction[1], half[1])
    z_near, z_far = _slab(origin[2], direction[2], half[2])
    near = torch.maximum(torch.maximum(x_near, z_near), y_near)
    return near, torch.minimum(torch.minimum(x_far, z_far), y_far)


def _round(a: Scalars, b: Scalars, c: Scalars, radius: Scalars) -> tuple[Scalars, Scalars]:
    """Solutions of `a t^2 + 2 b t + c = radius^2`; without one, twice the closest approach."""
    a = a + TINY
    inverse = a.reciprocal()
    # A negative radius (padding) must not become a positive square.
    rest = c - radius * radius.abs()
    root = torch.addcmul(b * b, a, rest, value=-1).clamp_min(0).sqrt()
    return -(b + root) * inverse, (root - b) * inverse


def cylinder_interval(
    origin: Vectors, direction: Vectors, half: Vectors
) -> tuple[Scalars, Scalars]:
    """Ray parameters of the entry into an upright cylinder and of the exit."""
    (x, y, z), (dx, dy, dz) = origin, direction
    a, b, c = (
        torch.addcmul(p * q, r, s)
        for p, q, r, s in ((dx, dx, dz, dz), (x, dx, z, dz), (x, x, z, z))
    )
    near, far = _round(a, b, c, half[0])
    y_near, y_far = _slab(y, dy, half[1])
    return torch.maximum(near, y_near), torch.minimum(far, y_far)


def sphere_interval(origin: Vectors, direction: Vectors, half: Vectors) -> tuple[Scalars, Scalars]:
    """Ray parameters of the entry into a sphere and of the exit."""
    along, start = dot(direction, direction), dot(origin, origin)
    return _round(along, dot(origin, direction), start, half[0])


def box_distance(point: Vectors, half: Vectors) -> Scalars:
    """Signed distances of points to a box, negative inside."""
    x, y, z = (part.abs() - extent for part, extent in zip(point, half, strict=True))
    beyond = (x.clamp_min(0), y.clamp_min(0), z.clamp_min(0))
    return dot(beyond, beyond).sqrt() + torch.maximum(torch.maximum(x, z), y).clamp_max(0)


def cylinder_distance(point: Vectors, half: Vectors) -> Scalars:
    """Signed distances of points to an upright cylinder, negative inside."""
    x, y, z = point
    side = torch.addcmul(x * x, z, z).sqrt() - half[0]
    cap = y.abs() - half[1]
    side_beyond, cap_beyond = side.clamp_min(0), cap.clamp_min(0)
    outside = torch.addcmul(side_beyond * side_beyond, cap_beyond, cap_beyond).sqrt()
    return outside + torch.maximum(side, cap).clamp_max(0)


def sphere_distance(point: Vectors, half: Vectors) -> Scalars:
    """Signed distances of points to a sphere, negative inside."""
    return dot(point, point).sqrt() - half[0]


@dataclass(frozen=True)
class Shape:
    """A kind of solid for the ray caster; `turns` if yaw changes its outline."""

    name: str
    interval: Callable[[Vectors, Vectors, Vectors], tuple[Scalars, Scalars]]
    distance: Callable[[Vectors, Vectors], Scalars]
    turns: bool


# In the order of the solids of a world.
SHAPES = (
    Shape("box", box_interval, box_distance, turns=True),
    Shape("cylinder", cylinder_interval, cylinder_distance, turns=False),
    Shape("sphere", sphere_interval, sphere_distance, turns=False),
)
