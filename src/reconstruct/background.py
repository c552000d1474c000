"""Threads beside the main one: one writes results, one reads the next scene."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from typing import TypeVar

from ..io.atomic import BlockWriter

T = TypeVar("T")
U = TypeVar("U")
Job = Callable[[], object]

# A job holds the pictures of a trajectory: 85 MB for 31 frames of 704x1280.
MAX_PENDING = 12


class BackgroundWriter(BlockWriter):
    """Runs jobs in one other thread, in the order in which they were submitted.

    After a failed job no other one runs; the next `submit`, or the end of the block, raises its
    exception. If the block itself fails, submitted jobs still run, so that finished scenes are not
    lost. Ctrl-C drops all but the running job.
    """

    def __init__(self, max_pending: int = MAX_PENDING) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="writer")
        self._pending: deque[Future[None]] = deque()
        self._max_pending = max_pending
        self._stopped = False

    @contextmanager
    def _block(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self._pool.shutdown(cancel_futures=True)
            raise
        finally:
            self._pool.shutdown()
        self.flush()

    def submit(self, job: Job) -> None:
        """Queues a job; waits while too many are pending."""
        while self._pending and (
            len(self._pending) >= self._max_pending or self._pending[0].done()
        ):
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._run, job))

    def flush(self) -> None:
        """Waits for all jobs."""
        while self._pending:
            self._pending.popleft().result()

    def _run(self, job: Job) -> None:
        if self._stopped:
            return
        # Reset only by a job that succeeds: the mark of a finished scene must not be written after
        # a failed video.
        self._stopped = True
        job()
        self._stopped = False


def read_ahead(read: Callable[[U], T], items: Iterable[U]) -> Iterator[tuple[U, T]]:
    """Yields `(item, read(item))` while the next item is read."""
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        submitted = ((item, reader.submit(read, item)) for item in items)
        pending: tuple[U, Future[T]] | None = None
        for following in chain(submitted, [None]):
            if pending is not None:
                yield pending[0], pending[1].result()
            pending = following
