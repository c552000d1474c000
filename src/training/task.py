"""What the training loop asks of the thing that is trained."""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch
from jaxtyping import UInt8
from torch import Tensor, nn

from .stopwatch import Stopwatch

Batch = TypeVar("Batch")
Batch_co = TypeVar("Batch_co", covariant=True)
# How much of the run is done before the next batch, in [0, 1]: of its steps, or of its time.
Progress = Callable[[], float]
# An objective as the loop wraps it: a batch to its terms.
Model = Callable[..., Mapping[str, Tensor]]


@dataclass(frozen=True)
class Share:
    """Which part of the data a process sees, and the number of its next batch."""

    rank: int = 0
    world_size: int = 1
    position: int = 0


@runtime_checkable
class Batches(Protocol[Batch_co]):
    """Endless batches; `position` is the number of the next one, to go on there."""

    position: int

    def __iter__(self) -> Generator[Batch_co, None, None]:
        """Yield the batches from `position` on; closed, it ends what reads ahead."""
        ...


class Objective(nn.Module):
    """A network with the loss around it, so that one call does all that needs gradients.

    What is not trained (tokenizers, metrics) must not be a submodule: wrappers would send it from
    process to process, or cut it up.
    """

    network: nn.Module

    def forward(self, batch: Any) -> Mapping[str, Tensor]:
        """Numbers of a batch, as 0-dimensional tensors; `loss` is what is minimised."""
        raise NotImplementedError


@dataclass
class Validation:
    """Means over `count` held-out samples, and a picture to look at.

    `counts` has the number of samples of a figure that not all of them have.
    """

    count: int = 0
    figures: dict[str, float] = field(default_factory=dict)
    picture: UInt8[Tensor, "h w 3"] | None = None
    counts: dict[str, int] = field(default_factory=dict)


@runtime_checkable
class Task(Protocol[Batch]):
    """A trainable thing: decoder, tokenizer, depth network, generator."""

    def prepare(self) -> None:
        """Make files that are missing; called in one process, before all else."""
        ...

    def build(self, device: torch.device, clock: Stopwatch) -> Objective:
        """The objective on `device`, its network with new weights."""
        ...

    def batches(self, share: Share, progress: Progress) -> Batches[Batch]:
        """The training data of one process; `progress` is for data that change in a run.

        Raises:
            InputError: there are none.
        """
        ...

    def keys(self, batch: Batch) -> list[str]:
        """The names of the samples in a batch."""
        ...

    def validate(self, model: Model, share: Share) -> Validation:
        """Figures of the held-out samples; every process calls `model` equally often."""
        ...

    def write_weights(self, folder: Path, weights: dict[str, Tensor]) -> None:
        """Write the network's weights into a folder, whence they can be used without training."""
        ...

    def read_weights(self, path: Path) -> dict[str, Tensor]:
        """The weights of such a folder, or in another layout that exists for this network.

        Raises:
            InputError: unreadable ones, or those of another network.
        """
        ...
