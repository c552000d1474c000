"""Endless batches of examples for a training, read ahead by worker processes.

A batch is a list of examples of one shape, which may be stacked or taken one by one.
"""

import atexit
import multiprocessing
import os
import random
import signal
from collections.abc import Generator, Iterator
from functools import lru_cache, partial
from itertools import count

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from .dataset import OF_ORDER, ExampleDraw, Unreadable
from .example import Example
from .mixture import SceneSet


def scene_batches(
    num_scenes: int,
    batch_size: int,
    *,
    seed: int,
    rank: int = 0,
    world_size: int = 1,
    position: int = 0,
) -> Iterator[list[ExampleDraw]]:
    """Yields the scenes that process `rank` of `world_size` reads in each step from `position` on.

    Shuffled epochs follow each other, every scene once in each. A step takes the next
    `batch_size * world_size` scenes and each process its own part. So processes see disjoint
    scenes, and two of them see the same as one with twice the batch.
    """

    # Two epochs, since a step may cross from one to the next.
    @lru_cache(maxsize=2)
    def order(epoch: int) -> list[int]:
        return np.random.default_rng([seed, OF_ORDER, epoch]).permutation(num_scenes).tolist()

    for step in count(position):
        first = (step * world_size + rank) * batch_size
        places = [divmod(place, num_scenes) for place in range(first, first + batch_size)]
        yield [ExampleDraw(order(epoch)[place], epoch, step) for epoch, place in places]


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
        """Reads with `num_workers` processes; 0 reads in this one."""
        self.dataset, self.num_workers, self.position = dataset, num_workers, position
        self._batches = partial(
            scene_batches,
            len(dataset),
            batch_size,
            seed=dataset.reading.seed,
            rank=rank,
            world_size=world_size,
        )

    def __iter__(self) -> Generator[list[Example], None, None]:
        """Yields batches from `position` on; skipped scenes make one smaller, or leave it out.

        Raises `InputError` for an unreadable scene, unless such are skipped, and if no scene is
        readable.
        """
        if self.num_workers:
            # An exception keeps the iterator and its workers alive. Python sends them one SIGTERM,
            # which they ignore, and waits without a limit. The last function registered runs
            # first, so before Python's own.
            atexit.unregister(_kill_workers)
            atexit.register(_kill_workers)
        loader = DataLoader(
            _Results(self.dataset),
            batch_sampler=self._batches(position=self.position),
            num_workers=self.num_workers,
            collate_fn=list,
            worker_init_fn=partial(_begin_worker, os.getpid()),
            # A thread of torch takes the batches from the workers while the GPU works.
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self.dataset.reading.seed),
        )
        for results in loader:
            self.position += 1
            found = [self.dataset.accept(result) for result in results]
            batch = [example for example in found if example is not None]
            if batch:
                yield batch


class _Results(Dataset[Example | Unreadable]):
    """Examples as a worker sends them: errors are values, because raised ones lose their fields."""

    def __init__(self, dataset: SceneSet) -> None:
        self.dataset = dataset

    def __getitem__(self, draw: ExampleDraw) -> Example | Unreadable:
        return self.dataset.try_read(draw)


def _begin_worker(parent: int, _worker: int) -> None:
    """Seeds a worker, and lets it outlive the first SIGTERM and any SIGINT, but not its parent.

    Examples don't depend on this seed; it makes draws inside of libraries repeatable. A stopped job
    ends its step first and needs its workers for that, and the signal often goes to all processes.
    """
    if multiprocessing.get_start_method() == "fork" and os.getppid() != parent:
        # The parent was killed already. torch notes its number only after this function, and would
        # wait for ever.
        os._exit(1)
    seed = torch.initial_seed() % 2**32
    random.seed(seed)
    np.random.seed(seed)
    signal.signal(signal.SIGTERM, lambda *_: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _kill_workers() -> None:
    """Kills the workers that are left; they only read."""
    # torch reports the end of a worker as a failure.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
