"""The exchange of Python values between the processes of a launch."""

import difflib
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from typing import Any, TypeVar

import torch.distributed as dist

from ...runtime import InputError

T = TypeVar("T")
# One process may read or write a large file, or make clips, while the others wait.
PATIENCE = timedelta(days=7)


@lru_cache(maxsize=1)
def _waiting_group(launch: dist.ProcessGroup) -> dist.ProcessGroup:
    """Returns a process group that waits for days; that of the launch gives up after minutes."""
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(group, dist.ProcessGroup), f"a launch without this process: {group}"
    return group


def _group() -> dist.ProcessGroup:
    launch = dist.group.WORLD
    assert launch is not None, "no process group"
    return _waiting_group(launch)


def forget_processes() -> None:
    """Drop the reference to the process group, which is about to end."""
    _waiting_group.cache_clear()


def gather_all(value: T) -> list[T]:
    """Returns the values of all processes, by rank."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, group=_group())
    return values


def from_main(function: Callable[[], T]) -> T:
    """Call `function` in the main process; returns its value in all processes, which wait for it.

    Raises `InputError` in all processes, if the main one raises it.
    """
    if not dist.is_initialized():
        return function()
    outcome: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            outcome = [function()]
        except InputError as error:
            # As text: a source or value need not be serialisable.
            outcome = [InputError(str(error.source), str(error.value), error.expected)]
    dist.broadcast_object_list(outcome, group=_group())
    if isinstance(outcome[0], InputError):
        raise outcome[0]
    return outcome[0]


def only_main(function: Callable[[], T]) -> T | None:
    """As `from_main`, but the value stays in the main process; the others get None."""
    own: list[T] = []
    from_main(lambda: own.append(function()))
    return own[0] if own else None


def agree(settings: str) -> None:
    """Check that all processes have the same settings.

    Raises `InputError` in all processes, with the first lines that differ.
    """
    first, *others = gather_all(settings)
    for rank, other in enumerate(others, start=1):
        if other != first:
            lines = difflib.ndiff(first.splitlines(), other.splitlines())
            changed = [line for line in lines if line[0] in "+-"]
            found = "; ".join(changed[:8])
            raise InputError(f"configuration of process {rank}", found, "that of process 0")
