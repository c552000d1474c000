"""Random numbers for the pictures of a batch."""

import torch
from jaxtyping import Float
from torch import Tensor


class BatchDraws:
    """Random numbers for a batch of pictures, of shape `size` for each of them."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        """Draw for `count` pictures; `generator` and the numbers are on one device."""
        self.count, self.generator, self.device = count, generator, generator.device

    def uniform(self, low: float, high: float, *size: int) -> Float[Tensor, "count ..."]:
        """Numbers in [low, high)."""
        unit = torch.rand(self.count, *size, generator=self.generator, device=self.device)
        return low + (high - low) * unit

    def normal(self, *size: int) -> Float[Tensor, "count ..."]:
        """Standard normal numbers."""
        return torch.randn(self.count, *size, generator=self.generator, device=self.device)

    def sometimes(self, chance: float) -> Float[Tensor, "count 1 1 1"]:
        """1 with probability `chance`, otherwise 0."""
        return (self.uniform(0, 1, 1, 1, 1) < chance).float()
