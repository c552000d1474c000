"""The figures of steps, which stay on the device until they are reported."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# What must be finite for the weights to be worth anything.
ESSENTIAL = ("loss", "gradient_norm")


@dataclass(frozen=True)
class Entry:
    """Figures of one step by name, with the keys of the samples that they are of."""

    step: int
    keys: list[str]
    names: tuple[str, ...]
    values: Float[Tensor, " figure"]

    @classmethod
    def of(cls, step: int, keys: list[str], figures: Mapping[str, Float[Tensor, ""]]) -> "Entry":
        """Copies of the `figures`, without a graph."""
        values = torch.stack([value.detach().float() for value in figures.values()])
        return cls(step, keys, tuple(figures), values)

    def read(self) -> dict[str, float]:
        """The figures of this process; waits for the device."""
        return dict(zip(self.names, self.values.tolist(), strict=True))


class Figures:
    """Collects figures without waiting for the device, and sums them up when they are asked for."""

    def __init__(self, mean: Callable[[Tensor], Tensor]) -> None:
        """Average over the processes with `mean`."""
        self._mean = mean
        self._waiting: list[Entry] = []
        self._known: dict[str, list[float]] = {}

    def add(self, entry: Entry) -> None:
        """Take in more figures; they are not looked at."""
        self._waiting.append(entry)

    def check(self) -> Entry | None:
        """Wait for the figures of all processes; the first entry with a loss or norm not finite.

        All processes find the same entry, whichever of them has the sample that is to blame.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return None
        means = self._mean(torch.cat([entry.values for entry in waiting]))
        numbers, bad = iter(means.tolist()), None
        for entry in waiting:
            for name in entry.names:
                number = next(numbers)
                self._known.setdefault(name, []).append(number)
                if bad is None and name in ESSENTIAL and not math.isfinite(number):
                    bad = entry
        return bad

    def take(self) -> dict[str, float]:
        """Means of all that was checked since the last call."""
        known, self._known = self._known, {}
        return {name: sum(numbers) / len(numbers) for name, numbers in known.items()}
