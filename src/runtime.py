"""What every run needs: the device, seeding, a rank-0 logger, progress bars and the input error."""

import importlib.util
import logging
import os
import random
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar("T")
# Names that a message lists before it only counts the others.
NAMES_SHOWN = 8


class InputError(ValueError):
    """What a user gave is wrong; names the source, the value and what was expected."""

    def __init__(self, source: object, value: object, expected: str) -> None:
        self.source, self.value, self.expected = source, value, expected
        super().__init__(f"{source}: got {value}, expected {expected}")

    def __reduce__(self) -> tuple[Any, ...]:
        # What a process of a pool raises travels to its parent.
        return type(self), (self.source, self.value, self.expected)


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def rank() -> int:
    """Index of this process among those of the launch; 0 without a launcher."""
    return int(os.environ.get("RANK", "0"))


def default_device() -> torch.device:
    """The CUDA device of this process, or the CPU where there is none."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def without_memory() -> Iterator[None]:
    """Networks that the block makes have shapes and no numbers, until weights are assigned.

    Raises:
        InputError: a full disk has no room for temporary files, which torch looks for here.
    """
    try:
        tempfile.gettempdir()
    except OSError as error:
        expected = "room in /tmp, or a folder with room in the variable TMPDIR"
        raise InputError("temporary files", f"no folder ({error.strerror})", expected) from error
    with torch.device("meta"):
        yield


def can_compile(device: torch.device, function: Callable[..., Any]) -> bool:
    """Whether `function` can be compiled for a device, where that is worth its while."""
    # Checks of annotations, as tests install them, can't be compiled.
    checked = hasattr(function, "__wrapped__")
    return device.type == "cuda" and not checked and importlib.util.find_spec("triton") is not None


@contextmanager
def core_pool(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """As many threads as torch would use, each of which then computes by itself; one for a GPU.

    Many small tensors, cut up between cores, make these wait for each other more than they work,
    and all the more where the cores have other work too.
    """
    threads = torch.get_num_threads()
    # New threads begin with the number that holds now.
    torch.set_num_threads(1)
    try:
        with ThreadPoolExecutor(threads if device.type == "cpu" else 1) as pool:
            yield pool
    finally:
        torch.set_num_threads(threads)


def seed_everything(seed: int) -> None:
    """Seed python, numpy and torch (every device) with a non-negative integer below 2**32."""
    if not 0 <= seed < 2**32:
        raise InputError("seed", seed, "an integer in [0, 2**32)")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def get_logger(name: str) -> logging.Logger:
    """A logger that speaks on rank 0 only; warnings and errors come from every rank."""
    logger = logging.getLogger(name)
    if rank() != 0:
        logger.setLevel(logging.WARNING)
    return logger


def setup_logging() -> None:
    """Send the log to standard error, one line a record; called once by an entry."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form)


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` under a progress bar, which only rank 0 shows."""
    from tqdm import tqdm

    yield from tqdm(items, desc=description, total=total, disable=rank() != 0, leave=False)
