"""One measured line of a benchmark, and how to time a call."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Row:
    """A measurement: ours, in `unit`, beside a named peer measured in the same run, if any."""

    name: str
    ours: float
    unit: str = "s"
    peer_name: str = ""
    peer: float | None = None
    budget: float | None = None

    def __str__(self) -> str:
        text = f"{self.name}: {self.ours:.4g} {self.unit}"
        if self.budget is not None:
            text += f" (budget {self.budget:g} {self.unit})"
        if self.peer is not None:
            text += (
                f"; {self.peer_name} {self.peer:.4g} {self.unit}, ratio {self.ours / self.peer:.3f}"
            )
        return text


def seconds(call: Callable[[], object], repeats: int = 5, warm_up: int = 1) -> float:
    """Median wall-clock seconds of one `call`, the device's queue drained around each."""
    times = []
    for index in range(warm_up + repeats):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        start = time.perf_counter()
        call()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if index >= warm_up:
            times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]
