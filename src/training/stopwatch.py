"""Where the time of a step goes."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Adds up the seconds of named blocks.

    Waiting for the device makes them exact and the step slower, so it is done only if asked for;
    without that a block counts what it takes to launch the work.
    """

    def __init__(self, device: torch.device | str = "cpu", exact: bool = False) -> None:
        """Measure on `device`."""
        self._wait = exact and torch.device(device).type == "cuda"
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the block under `name`."""
        start = self._now()
        try:
            yield
        finally:
            self._seconds[name] = self._seconds.get(name, 0.0) + self._now() - start

    def take(self) -> dict[str, float]:
        """The seconds of each block since the last call."""
        seconds, self._seconds = self._seconds, {}
        return seconds

    def _now(self) -> float:
        if self._wait:
            torch.cuda.synchronize()
        return time.perf_counter()
