"""3D Gaussians as one value, and their packed 14-channel order.

Parameters are activated: opacities in (0, 1), linear scales, unit quaternions (wxyz), RGB in
[0, 1]. Positions and scales are in world units, world axes are OpenCV (x right, y down, z forward).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Gaussians:
    """A set (or a batch of equally large sets) of 3D Gaussians."""

    means: Float[Tensor, "*batch gaussian 3"]
    opacities: Float[Tensor, "*batch gaussian"]
    scales: Float[Tensor, "*batch gaussian 3"]
    quats: Float[Tensor, "*batch gaussian 4"]
    colors: Float[Tensor, "*batch gaussian 3"]

    def __len__(self) -> int:
        return self.means.shape[-2]

    @property
    def device(self) -> torch.device:
        """The device that holds the parameters."""
        return self.means.device

    def packed(self) -> Float[Tensor, "*batch gaussian 14"]:
        """One tensor, channels `xyz | opacity | scale 3 | quaternion wxyz | rgb`."""
        parts = (self.means, self.opacities[..., None], self.scales, self.quats, self.colors)
        return torch.cat(parts, dim=-1)

    @classmethod
    def from_packed(cls, packed: Float[Tensor, "*batch gaussian 14"]) -> "Gaussians":
        """The inverse of `packed`; the parts are views of the given tensor."""
        means, opacities, scales, quats, colors = packed.split([3, 1, 3, 4, 3], dim=-1)
        return cls(
            means=means, opacities=opacities[..., 0], scales=scales, quats=quats, colors=colors
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> "Gaussians":
        """The same set with `function` applied to each parameter tensor."""
        return Gaussians(
            means=function(self.means),
            opacities=function(self.opacities),
            scales=function(self.scales),
            quats=function(self.quats),
            colors=function(self.colors),
        )

    def to(self, target: torch.device | torch.dtype | str) -> "Gaussians":
        """The same set on another device or in another floating-point type."""
        return self.map(lambda tensor: tensor.to(target))

    @staticmethod
    def concatenate(parts: "Sequence[Gaussians]") -> "Gaussians":
        """All Gaussians of `parts`, of equal batch shape, in one set."""
        return Gaussians.from_packed(torch.cat([part.packed() for part in parts], dim=-2))
