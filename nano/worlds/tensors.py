"""Names for shapes of tensors, and dataclasses whose tensors have a row for each thing."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias, TypeVar

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
