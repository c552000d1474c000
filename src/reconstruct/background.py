"""Work that goes on beside the main thread: results are written, the next scene is read."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from ..io.atomic import BlockWriter

T = TypeVar("T")
U = TypeVar("U")
Job = Callable[[], object]

# A job holds the pictures of a trajectory: 85 MB for 31 frames of 704x1280.
MAX_PENDING = 12


class BackgroundWriter(BlockWriter):
    """Runs jobs in one other thread, in the order in which they were submitted.

    After a job that fails no later one runs, and its exception is raised by the next `submit` that
    notices, or at the end of the block. When the block itself fails, the jobs that were submitted
    before still run: finished scenes are not lost with the one that failed. Ctrl-C drops them but
    for the one that runs.
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
        except BaseException as error:
            self._pool.shutdown(cancel_futures=isinstance(error, KeyboardInterrupt))
            raise
        self._pool.shutdown()
        self.flush()

    def submit(self, job: Job) -> None:
        """Queue a job; waits while too many are pending."""
        while self._pending and (
            len(self._pending) >= self._max_pending or self._pending[0].done()
        ):
            self._pending.popleft().result()
        self._pending.append(self._pool.submit(self._run, job))

    def flush(self) -> None:
        """Wait for all jobs."""
        while self._pending:
            self._pending.popleft().result()

    def _run(self, job: Job) -> None:
        if self._stopped:
            return
        # Lifted by a job that ends well only: the marker of a finished scene must not be written
        # after a video that failed.
        self._stopped = True
        job()
        self._stopped = False


def read_ahead(read: Callable[[U], T], items: Iterable[U]) -> Iterator[tuple[U, T]]:
    """Yield `(item, read(item))`, the next item being read meanwhile."""
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        pending: tuple[U, Future[T]] | None = None
        for item in items:
            following = (item, reader.submit(read, item))
            if pending is not None:
                yield pending[0], pending[1].result()
            pending = following
        if pending is not None:
            yield pending[0], pending[1].result()
