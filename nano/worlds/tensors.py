"""Types of tensors and functions of vectors that all parts of the worlds share."""

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
