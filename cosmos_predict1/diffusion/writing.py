"""A thread that writes clips while the next one is sampled.

Sampling keeps the GPU busy; encoding a video keeps some cores busy. Only finished frames in the
machine's memory reach the thread, so the GPU computes in the same order and with the same memory.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager

import torch

from src.runtime import InputError, get_logger

from .clips import Job
from .outputs import WriteError

LOGGER = get_logger(__name__)
# Tasks that may wait, beside the one in work. A piece has 0.3 GB of frames at full size.
WAITING = 2


class WritingThread:
    """Does the tasks of jobs one after another; `failures` are those of tasks that are done."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._tasks: deque[tuple[Job, Future[None]]] = deque()
        self.failures: list[tuple[Job, InputError]] = []

    def add(self, job: Job, task: Callable[[], object]) -> None:
        """Do a task after all before it; waits while too many are left, and raises as `collect`."""
        self._tasks.append((job, self._pool.submit(_do, task)))
        self.collect(WAITING)

    def collect(self, most: int | None = None) -> None:
        """Take note of the tasks that are done; waits until at most `most` are left.

        Raises `WriteError` of a task: the next clip could not be written either.
        """
        while self._tasks and (
            self._tasks[0][1].done() or (most is not None and len(self._tasks) > most)
        ):
            job, future = self._tasks.popleft()
            try:
                future.result()
            except WriteError:
                raise
            except InputError as error:
                LOGGER.error("no clip of %s: %s", job.scene.key, error)
                self.failures.append((job, error))


@contextmanager
def writing_thread() -> Iterator[WritingThread]:
    """Start a thread, which is done with all of its tasks when the block ends, however it ends."""
    with ThreadPoolExecutor(1, thread_name_prefix="writing") as pool:
        thread = WritingThread(pool)
        yield thread
        thread.collect(0)


def _do(task: Callable[[], object]) -> None:
    # The mode belongs to a thread, and its tensors allow less outside of it.
    with torch.inference_mode():
        task()
