"""Boxes, upright cylinders and spheres: intersections with rays and distances to points.

All coordinates are local: the origin is the shape's centre, y its vertical axis, `half` its half
extents (the radius of a cylinder or sphere is `half` x). Everything broadcasts over any batch.
Batches are padded with shapes of negative extents, which are never hit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch

from .tensors import Scalars, Vectors, dot

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
