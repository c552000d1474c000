"""The measurements of all benchmarks: a row of the table, seconds, peak memory, what runs log."""

import logging
import resource
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, dataclass

import torch

from src.runtime import InputError

GIB = 2**30


@dataclass(frozen=True)
class Row:
    """A measurement in `unit`, with the same figure of a named peer and a budget, if any."""

    name: str
    ours: float
    unit: str = "s"
    _: KW_ONLY
    peer: tuple[str, float] | None = None
    budget: float | None = None

    def __str__(self) -> str:
        text = f"{self.name}: {self.ours:.4g} {self.unit}"
        if self.budget is not None:
            text += f" (budget {self.budget:g} {self.unit})"
        if self.peer is not None:
            name, theirs = self.peer
            text += f"; {name} {theirs:.4g} {self.unit}, ratio {self.ours / theirs:.3f}"
        return text


def check_parts(parts: Collection[str], known: Collection[str]) -> None:
    """Raises `InputError` for parts that a benchmark does not have."""
    if unknown := sorted(set(parts) - set(known)):
        raise InputError("parts", unknown, f"some of {tuple(known)}")


@contextmanager
def logged(logger: logging.Logger, level: int) -> Iterator[list[logging.LogRecord]]:
    """Collects what is logged from `level` on within the block."""
    records: list[logging.LogRecord] = []

    class Collect(logging.Handler):
        """Keeps all records."""

        def emit(self, record: logging.LogRecord) -> None:
            """Adds a record."""
            records.append(record)

    handler = Collect()
    logger.setLevel(level)
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


def now() -> float:
    """Returns the time in seconds, after the GPU has finished its work."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def seconds(call: Callable[[], object], repeats: int = 5, warm_up: int = 1) -> float:
    """Returns the median wall-clock seconds of one `call`."""
    times = []
    for _ in range(warm_up + repeats):
        start = now()
        call()
        times.append(now() - start)
    return sorted(times[warm_up:])[repeats // 2]


@contextmanager
def timed(rows: list[Row], name: str) -> Iterator[None]:
    """Adds a row with the seconds of the block."""
    start = now()
    yield
    rows.append(Row(name, now() - start))


def reset_peak(device: torch.device) -> None:
    """Starts the measurement of `peak_memory` on a GPU."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_memory(name: str, device: torch.device, budget: float | None = None) -> Row:
    """The peak memory in GiB: of a GPU since `reset_peak`, of the whole process on a CPU."""
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated(device)
    else:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Row(name, peak / GIB, "GiB", budget=budget)
