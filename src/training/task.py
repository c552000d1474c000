"""The interface between the training loop and a task."""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

Batch = TypeVar("Batch")
Batch_co = TypeVar("Batch_co", covariant=True)
# Returns the share of the run in [0, 1], by steps or by time, that is done before the next batch.
Progress = Callable[[], float]
# An objective as the loop wraps it: returns the terms of a batch.
Model = Callable[..., Mapping[str, Tensor]]


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


@dataclass(frozen=True)
class Share:
    """The part of the data that a process gets, and the number of its next batch."""

    rank: int = 0
    world_size: int = 1
    position: int = 0

    def turns(self, count: int) -> Iterator[tuple[int, bool]]:
        """Yield the indices of this process among `count` samples, and whether each one counts.

        Every process gets the same number of turns; those that do not count repeat a sample.
        """
        for first in range(0, count, self.world_size):
            index = first + self.rank
            yield index % count, index < count


@runtime_checkable
class Batches(Protocol[Batch_co]):
    """Endless batches; `position` is the number of the next one."""

    position: int

    def __iter__(self) -> Generator[Batch_co, None, None]:
        """Yield the batches from `position` on; closing ends the workers that read ahead."""
        ...


class Objective(nn.Module):
    """A network and its loss as one module: one call computes all that needs gradients.

    Frozen networks (tokenizers, metrics) must not be submodules: wrappers would copy them between
    processes, or shard them. `outer` has the names with which the parameters of the network's first
    and last layers begin: Muon leaves these to AdamW.
    """

    network: nn.Module
    outer: tuple[str, ...] = ()

    def forward(self, batch: Any) -> Mapping[str, Tensor]:
        """Returns figures of a batch as 0-dimensional tensors; `loss` is minimised."""
        raise NotImplementedError


@dataclass
class Validation:
    """Means over `count` held-out samples, and a picture of some.

    `counts` has the number of samples of each figure that only some samples have.
    """

    count: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    picture: UInt8[Tensor, "h w 3"] | None = None
    counts: dict[str, int] = field(default_factory=dict)


def joined(parts: Sequence[Validation]) -> Validation:
    """Returns means over all samples that have a figure, and the pictures one above the other."""
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for part in parts:
        for name, value in part.figures.items():
            count = part.counts.get(name, part.count)
            sums[name] = sums.get(name, 0.0) + value * count
            counts[name] = counts.get(name, 0) + count
    means = {name: value / counts[name] for name, value in sums.items() if counts[name]}
    pictures = [part.picture for part in parts if part.picture is not None]
    return Validation(
        count=sum(part.count for part in parts),
        figures=means,
        picture=torch.cat(pictures) if pictures else None,
        counts=counts,
    )


@runtime_checkable
class Task(Protocol[Batch]):
    """A trainable thing: decoder, tokenizer, depth network, generator."""

    def prepare(self) -> None:
        """Make files that are missing; called first, in one process."""
        ...

    def build(self, device: torch.device, clock: Stopwatch) -> Objective:
        """Returns the objective on `device`; its network has new weights."""
        ...

    def batches(self, share: Share, progress: Progress) -> Batches[Batch]:
        """Returns the training data of one process, which may change with the `progress`.

        Raises `InputError` if there are no data.
        """
        ...

    def keys(self, batch: Batch) -> list[str]:
        """Returns the names of the samples in a batch."""
        ...

    def validate(self, model: Model, share: Share) -> Validation:
        """Returns figures of held-out samples; every process calls `model` equally often."""
        ...

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write the weights into a folder that can be used without training."""
        ...

    def read_weights(self, path: Path) -> dict[str, Tensor]:
        """Returns the weights of such a folder, or of another layout of this network.

        Raises `InputError` if the weights are unreadable, or of another network.
        """
        ...
