"""Random numbers that depend on a seed, a call and a place, but not on the batch or the device.

A generator's numbers depend on how many were drawn before, and differ between devices. Here each
32-bit number is a hash of its place (Wellons 2018, "lowbias32", applied twice).
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

MASK = 0xFFFFFFFF
# 2**32 over the golden ratio: neighbours in a row get keys that are far apart.
STRIDE = 0x9E3779B9


class Draws:
    """Random numbers of several seeds: each call returns new ones, a row for each seed.

    Two batches that call for the same shapes in the same order get the same rows for a seed.
    """

    def __init__(self, seeds: Int[Tensor, " n"]) -> None:
        """Start from `seeds`, integers in [0, 2**62); their device is that of the numbers."""
        self.device, self._calls = seeds.device, 0
        self._keys = _hashed(_hashed(seeds & MASK) + (seeds >> 32))

    def __len__(self) -> int:
        return len(self._keys)

    def bits(self, *shape: int) -> Int[Tensor, "n ..."]:
        """Integers in [0, 2**32)."""
        self._calls += 1
        keys = _hashed(self._keys + self._calls * STRIDE)
        place = torch.arange(math.prod(shape), device=self.device) * STRIDE
        return _hashed(_hashed(keys[:, None] + place)).view(len(self), *shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Float[Tensor, "n ..."]:
        """Numbers in [low, high)."""
        return low + (high - low) * (self.bits(*shape) >> 8).float() / (1 << 24)

    def scale(self, *shape: int, low: float, high: float) -> Float[Tensor, "n ..."]:
        """Numbers in [low, high) whose logarithms are uniform."""
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def normal(self, *shape: int) -> Float[Tensor, "n ..."]:
        """Standard normal numbers (Box and Muller)."""
        radius = (-2 * (1 - self.uniform(*shape)).log()).sqrt()
        return radius * (2 * math.pi * self.uniform(*shape)).cos()

    def below(self, count: int, *shape: int) -> Int[Tensor, "n ..."]:
        """Integers in [0, count)."""
        return (self.bits(*shape) * count) >> 32

    def chance(self, share: float, *shape: int) -> Bool[Tensor, "n ..."]:
        """True with probability `share`."""
        return self.uniform(*shape) < share


def _hashed(value: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    # Products of 32-bit numbers overflow 63 bits, but not in the bits that are kept.
    value = value & MASK
    value = ((value ^ (value >> 16)) * 0x7FEB352D) & MASK
    value = ((value ^ (value >> 15)) * 0x846CA68B) & MASK
    return value ^ (value >> 16)
