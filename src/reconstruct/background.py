"""Work beside the main thread: jobs that write files, and examples that are read ahead."""

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from itertools import chain
from threading import Lock
from typing import TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from ..io.atomic import BlockWriter
from .clock import clocked

T = TypeVar("T")
U = TypeVar("U")
Job = Callable[[], object]
# A job holds the pictures of a trajectory: 85 MB for 31 frames of 704x1280.
MAX_PENDING = 12
# Each encoder of a video has threads of its own, which don't fill many cores.
MOST_WRITERS = 8


def writer_threads(device: torch.device) -> int:
    """Returns the number of threads that write: one on a CPU, which renders beside them."""
    return min(MOST_WRITERS, max(1, _cores() // 2)) if device.type == "cuda" else 1


def _cores() -> int:
    """The processor cores that this process may use."""
    count = os.cpu_count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else count


class BackgroundWriter(BlockWriter):
    """Runs jobs in other threads, begun in the order in which they were submitted.

    After a failed job no other one begins; the next `submit`, or the end of the block, raises its
    exception. If the block itself fails, submitted jobs still run, so that finished scenes are not
    lost. Ctrl-C drops all but the running jobs.
    """

    def __init__(self, max_pending: int = MAX_PENDING, threads: int = 1) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="writer")
        self._pending: list[Future[None]] = []
        self._max_pending = max_pending + threads - 1
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
        self._submit(job, ())

    def submit_last(self, job: Job) -> None:
        """Queues a job that begins when all earlier ones have ended, and only if none failed."""
        # No thread waits in vain: the pool has begun all earlier jobs.
        self._submit(job, tuple(self._pending))

    def flush(self) -> None:
        """Waits for all jobs."""
        with clocked("wait for the writers"):
            while self._pending:
                self._pending.pop(0).result()

    def _submit(self, job: Job, earlier: tuple[Future[None], ...]) -> None:
        while True:
            done = [future for future in self._pending if future.done()]
            self._pending = [future for future in self._pending if future not in done]
            for future in done:
                future.result()
            if len(self._pending) < self._max_pending:
                break
            wait(self._pending, return_when=FIRST_COMPLETED)
        self._pending.append(self._pool.submit(self._run, job, earlier))

    def _run(self, job: Job, earlier: tuple[Future[None], ...]) -> None:
        wait(earlier)
        if self._stopped:
            return
        succeeded = False
        try:
            job()
            succeeded = True
        finally:
            # The mark of a finished scene must not be written after a failed video.
            if not succeeded:
                self._stopped = True


def aside(device: torch.device, job: Callable[[], T]) -> Callable[[], T]:
    """Returns a job for another thread whose CUDA work follows only what is launched by now.

    On the stream of the main thread it would wait for the rendering of the next scene. The job has
    to wait for its own work, as `.cpu()` does: then it may free tensors of the main thread.
    """
    if device.type != "cuda":
        return job
    ready = torch.cuda.current_stream(device).record_event()

    def run() -> T:
        stream = torch.cuda.Stream(device)
        stream.wait_event(ready)
        with torch.cuda.stream(stream):
            return job()

    return run


class HostCopy:
    """Frames that stay on the device until another thread needs them on the CPU; copied once.

    The thread that encodes a video copies its frames, so the main thread waits for no copy.
    """

    def __init__(self, frames: UInt8[Tensor, "frame h w 3"]) -> None:
        self._copy: Callable[[], Tensor] | None = aside(frames.device, frames.cpu)
        self._frames, self._lock = frames[:0], Lock()

    def __call__(self) -> UInt8[Tensor, "frame h w 3"]:
        """Returns the frames on the CPU."""
        with self._lock:
            if self._copy is not None:
                # Frees the frames on the device.
                self._frames, self._copy = self._copy(), None
            return self._frames


def read_ahead(
    read: Callable[[U], T],
    items: Iterable[U],
    meanwhile: Callable[[U], object] = lambda item: None,
) -> Iterator[tuple[U, T]]:
    """Yields `(item, read(item))` while the next item is read.

    `meanwhile(item)` runs in the caller's thread before it waits for `read(item)`.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="reader") as reader:
        submitted = ((item, reader.submit(read, item)) for item in items)
        pending: tuple[U, Future[T]] | None = None
        for following in chain(submitted, [None]):
            if pending is not None:
                meanwhile(pending[0])
                with clocked("wait for the reader"):
                    value = pending[1].result()
                yield pending[0], value
            pending = following
