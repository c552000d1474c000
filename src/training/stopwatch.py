"""The time that each part of a step takes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds of named blocks.

    With `exact` each block waits for the device, which slows the step down; without it a block
    counts only the time to launch the work.
    """

    def __init__(self, device: torch.device | str = "cpu", exact: bool = False) -> None:
        self._wait = exact and torch.device(device).type == "cuda"
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Add the seconds of the block to `name`."""
        start = self._now()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + self._now() - start

    def take(self) -> dict[str, float]:
        """Returns the seconds of each block since the last call."""
        seconds, self._seconds = self._seconds, {}
        return seconds

    def _now(self) -> float:
        if self._wait:
            torch.cuda.synchronize()
        return time.perf_counter()
