"""Examples for a training, read ahead by worker processes.

A batch is a list of examples, all of one shape: what consumes it may stack them or go one by one.
"""

import atexit
import multiprocessing
import random
import signal
from collections.abc import Generator, Iterator
from functools import cache, lru_cache
from types import FrameType

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from ...runtime import InputError
from .dataset import OF_ORDER, ExampleDraw, SceneSet, Unreadable
from .example import Example


class SceneStream(Sampler[list[ExampleDraw]]):
    """Endless batches of scenes for one of several processes, from any step on.

    One stream of shuffled epochs, every scene once in each, is dealt out: a step takes
    `batch_size * world_size` scenes of it and each process its own part. Hence processes see
    disjoint scenes, and two of them see what one with twice the batch does.
    """

    def __init__(
        self,
        num_scenes: int,
        batch_size: int,
        seed: int = 42,
        rank: int = 0,
        world_size: int = 1,
        position: int = 0,
    ) -> None:
        """Start at step `position`, counted from 0 over the whole training."""
        assert 0 <= rank < world_size and num_scenes > 0, f"{rank}/{world_size}, {num_scenes}"
        if batch_size < 1:
            raise InputError("batch_size", batch_size, "at least 1")
        self.num_scenes, self.batch_size, self.seed = num_scenes, batch_size, seed
        self.rank, self.world_size, self.position = rank, world_size, position
        # A step may reach over the end of an epoch.
        self._order = lru_cache(maxsize=2)(self._shuffle)

    def __iter__(self) -> Iterator[list[ExampleDraw]]:
        step = self.position
        while True:
            yield self.batch(step)
            step += 1

    def batch(self, step: int) -> list[ExampleDraw]:
        """What this process takes at `step`."""
        first = (step * self.world_size + self.rank) * self.batch_size
        draws = []
        for place in range(first, first + self.batch_size):
            epoch, index = divmod(place, self.num_scenes)
            draws.append(ExampleDraw(self._order(epoch)[index], epoch, step))
        return draws

    def _shuffle(self, epoch: int) -> list[int]:
        generator = np.random.default_rng([self.seed, OF_ORDER, epoch])
        return generator.permutation(self.num_scenes).tolist()


class ExampleLoader:
    """Endless batches for training; `position` is the step of the next one, to resume at."""

    def __init__(
        self,
        dataset: SceneSet,
        batch_size: int,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        position: int = 0,
    ) -> None:
        """Read with `num_workers` processes; 0 reads in this one."""
        self.dataset, self.num_workers, self.position = dataset, num_workers, position
        seed = dataset.reading.seed
        self.stream = SceneStream(len(dataset), batch_size, seed, rank, world_size, position)

    def __iter__(self) -> Generator[list[Example], None, None]:
        """Batches from `position` on.

        Where unreadable scenes are skipped a batch is smaller by them; an empty one is passed over.

        Raises:
            InputError: an unreadable scene, unless they are skipped; no scene is readable.
        """
        self.stream.position = self.position
        for results in _loader(self.dataset, self.stream, self.num_workers):
            self.position += 1
            found = [self.dataset.accept(result) for result in results]
            batch = [example for example in found if example is not None]
            if batch:
                yield batch


class _Results(Dataset[Example | Unreadable]):
    """What a worker sends: errors come as values, which keep their fields on the way."""

    def __init__(self, dataset: SceneSet) -> None:
        self.dataset = dataset

    def __getitem__(self, draw: ExampleDraw) -> Example | Unreadable:
        return self.dataset.try_read(draw)


def _loader(
    dataset: SceneSet, batches: Sampler[list[ExampleDraw]], num_workers: int
) -> DataLoader[Example | Unreadable]:
    if num_workers:
        _end_workers_at_exit()
    generator = torch.Generator().manual_seed(dataset.reading.seed)
    return DataLoader(
        _Results(dataset),
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=list,
        worker_init_fn=_begin_worker,
        generator=generator,
    )


def _begin_worker(_worker: int) -> None:
    """Seed a worker, and let it outlive the first SIGTERM and any SIGINT.

    Examples need no such seed; what a library draws in a worker is repeatable all the same. A
    job that is told to stop ends its step first, for which it needs its workers, and the signal
    often goes to all processes at once.
    """
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
    signal.signal(signal.SIGTERM, _heed_the_next)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _heed_the_next(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@cache
def _end_workers_at_exit() -> None:
    """Let the process end after any exception, which keeps the iterator and its workers alive.

    Python sends such workers one SIGTERM, which they ignore, and waits for them without a limit.
    The last function to register runs first, hence before Python's own.
    """
    atexit.register(_kill_workers)


def _kill_workers() -> None:
    """Kill the workers that are left; they only read."""
    # torch takes a worker that ends for a failure.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
