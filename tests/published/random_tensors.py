"""Random tensors by the gigabyte, from one seed: each is a stretch of one pool of numbers.

Drawing seven billion numbers takes minutes, copying them takes seconds. A tensor that is no longer
than the pool repeats nothing, and two tensors begin at places of their own.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

POOL = 2**26
"""As long as the largest matrix of the generator."""


class RandomTensors:
    """Normal numbers of any shape, mean, deviation and type."""

    def __init__(self, seed: int, pool: int) -> None:
        """Draw `pool` numbers."""
        self._generator = torch.Generator().manual_seed(seed)
        self._pool = torch.randn(pool, generator=self._generator)

    def normal(
        self,
        shape: Sequence[int],
        std: float,
        mean: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        """A tensor of `shape`; one longer than the pool goes through it again."""
        count, size = prod(shape), len(self._pool)
        start = int(torch.randint(size, (), generator=self._generator))
        parts = []
        while count:
            part = self._pool[start : start + count]
            parts.append((part * std + mean).to(dtype))
            count -= len(part)
            start = 0
        return (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(tuple(shape))
