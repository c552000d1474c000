"""What the processes of a launch tell each other besides tensors."""

import difflib
from collections.abc import Callable
from typing import Any, TypeVar

import torch.distributed as dist

from ...runtime import InputError

T = TypeVar("T")


def gather_all(value: T) -> list[T]:
    """The values of all processes, by rank."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def from_main(function: Callable[[], T]) -> T:
    """What `function` returns in the main process, in all of them.

    Raises:
        InputError: in all processes, where it does in the main one.
    """
    if not dist.is_initialized():
        return function()
    outcome: list[tuple[T | None, tuple[str, str, str] | None]] = [(None, None)]
    if dist.get_rank() == 0:
        try:
            outcome = [(function(), None)]
        except InputError as error:
            # The exception itself does not survive the way.
            outcome = [(None, (str(error.source), str(error.value), error.expected))]
    dist.broadcast_object_list(outcome)
    value, error = outcome[0]
    if error is not None:
        raise InputError(*error)
    return value  # pyright: ignore[reportReturnType]


def agree(settings: str) -> None:
    """Check that all processes have the same settings.

    Raises:
        InputError: in all processes, with the first lines that differ.
    """
    first, *others = gather_all(settings)
    for rank, other in enumerate(others, start=1):
        if other != first:
            lines = difflib.ndiff(first.splitlines(), other.splitlines())
            changed = [line for line in lines if line[0] in "+-"]
            found = "; ".join(changed[:8])
            raise InputError(f"configuration of process {rank}", found, "that of process 0")


def rank_and_size() -> tuple[int, int]:
    """The number of this process and how many there are."""
    return (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
