"""The figures of steps, kept on the device until they are reported."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

# Figures without which an update ruins the weights.
ESSENTIAL = ("loss", "gradient_norm")


@dataclass(frozen=True)
class Entry:
    """Figures of one step, by name, and the keys of its samples."""

    step: int
    keys: list[str]
    names: tuple[str, ...]
    values: Float[Tensor, " figure"]

    @classmethod
    def of(cls, step: int, keys: list[str], figures: Mapping[str, Float[Tensor, ""]]) -> "Entry":
        """Returns copies of the `figures` without their graph."""
        values = torch.stack([value.detach().float() for value in figures.values()])
        return cls(step, keys, tuple(figures), values)

    def read(self) -> dict[str, float]:
        """Returns the figures of this process; waits for the device."""
        return dict(zip(self.names, self.values.tolist(), strict=True))


class Figures:
    """Collects figures without waiting for the device; averages them over steps on request."""

    def __init__(self, mean: Callable[[Tensor], Tensor]) -> None:
        self._mean = mean
        self._waiting: list[Entry] = []
        self._known: dict[str, list[float]] = {}

    def add(self, entry: Entry) -> None:
        """Collect an entry, unread."""
        self._waiting.append(entry)

    def check(self) -> Entry | None:
        """Returns the first entry whose loss or norm is not finite; waits for all processes.

        All processes find the same entry, because each mean includes the figures of all.
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
        """Returns means of the figures checked since the last call."""
        known, self._known = self._known, {}
        return {name: sum(numbers) / len(numbers) for name, numbers in known.items()}
