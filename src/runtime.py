"""What every run needs: device, seeding, logger, progress bars, the input error, and messages
between its processes.
"""

import importlib
import importlib.util
import logging
import os
import random
import re
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

T = TypeVar("T")
# Names that a message lists before it only counts the others.
NAMES_SHOWN = 8
_CPU = torch.device("cpu")


class InputError(ValueError):
    """Wrong input of a user: its source, the value, and what was expected."""

    def __init__(self, source: object, value: object, expected: str) -> None:
        self.source, self.value, self.expected = source, value, expected
        super().__init__(f"{source}: got {value}, expected {expected}")

    def __reduce__(self) -> tuple[Any, ...]:
        # A pool's process sends its error to the parent by pickling it.
        return type(self), (self.source, self.value, self.expected)


def natural_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """A key that sorts `a_10` behind `a_9`, and different names differently."""
    parts = re.split(r"(\d{1,18})", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts], name


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more


def import_extra(package: str, extra: str) -> ModuleType:
    """An optional package; without it `InputError` has the command that installs its extra."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        command = f"{sys.executable} -m pip install 'open-lyra[{extra}]'"
        raise InputError(package, "no such package", f"the extra `{extra}`: {command}") from error


def rank() -> int:
    """Index of this process in the launch; 0 without a launcher."""
    return int(os.environ.get("RANK", "0"))


class TeamMessages:
    """Messages from the first process of a group, its leader, to the others; through the CPU."""

    def __init__(self, group: dist.ProcessGroup) -> None:
        """Take a group that exchanges objects on the CPU."""
        self._group, self._awaited = group, False

    @property
    def leads(self) -> bool:
        """Whether this process is the leader."""
        return self._group.rank() == 0

    def tell(self, message: object) -> None:
        """Sends a message; the others have to `hear` it. None is the last one."""
        dist.broadcast_object_list([message], group_src=0, group=self._group, device=_CPU)

    def hear(self) -> Any:
        """Waits for the leader's next message."""
        heard: list[Any] = [None]
        dist.broadcast_object_list(heard, group_src=0, group=self._group, device=_CPU)
        return heard[0]

    @contextmanager
    def together(self, message: object) -> Iterator[None]:
        """Sends what the others compute along with the block; after its error they hear nothing."""
        self.tell(message)
        self._awaited = True
        yield
        self._awaited = False

    def end(self) -> None:
        """Sends None, unless the others wait in the middle of a block of `together`."""
        if not self._awaited:
            self.tell(None)


def default_device() -> torch.device:
    """The CUDA device of this process, or the CPU."""
    if not torch.cuda.is_available():
        return torch.device("cpu")
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))


@contextmanager
def without_memory() -> Iterator[None]:
    """Networks that the block makes are on the meta device: shapes without numbers.

    Raises `InputError` for a full disk, without room for torch's temporary files.
    """
    try:
        tempfile.gettempdir()
    except OSError as error:
        expected = "room in /tmp, or a folder with room in the variable TMPDIR"
        raise InputError("temporary files", f"no folder ({error.strerror})", expected) from error
    with torch.device("meta"):
        yield


def can_compile(device: torch.device, function: Callable[..., Any]) -> bool:
    """Whether `function` can be compiled for a device, a GPU with triton."""
    # The tests' checks of annotations can't be compiled.
    checked = hasattr(function, "__wrapped__")
    return device.type == "cuda" and not checked and importlib.util.find_spec("triton") is not None


@contextmanager
def core_pool(device: torch.device) -> Iterator[ThreadPoolExecutor]:
    """A pool of torch's number of threads, each of which computes on one core; one for a GPU.

    It suits many small tensors: cut up between cores, these make the cores wait for each other.
    """
    threads = torch.get_num_threads()
    # New threads inherit this number.
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
    """A logger that is silent below warnings, except on rank 0."""
    logger = logging.getLogger(name)
    if rank() != 0:
        logger.setLevel(logging.WARNING)
    return logger


def setup_logging() -> None:
    """Send the log to standard error, one line a record; an entry calls it once."""
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO, format=form)


def progress(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """Yield `items` under a progress bar, which only rank 0 shows."""
    from tqdm import tqdm

    yield from tqdm(items, desc=description, total=total, disable=rank() != 0, leave=False)
