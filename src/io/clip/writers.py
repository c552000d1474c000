"""Clips written by separate processes, so that encoding does not delay their maker."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

import torch

from ...geometry.cameras import Cameras
from ..atomic import BlockWriter
from .clip import Clip, ClipPaths, write_clip

# Clips that wait for each process: keeps it busy, and limits the memory.
WAITING = 4


class ClipWriters(BlockWriter):
    """Writes clips with some processes, or in this one where `processes` is 0.

    The end of the block waits for all clips. Errors of `write_clip` are raised by a later `write`
    or the end of the block.
    """

    def __init__(self, processes: int) -> None:
        """Start the processes, before anything that they should not share, such as a GPU."""
        assert processes >= 0, f"{processes} processes"
        self.processes = processes
        self._pool: ProcessPoolExecutor | None = None
        if processes:
            # Not forked: the parent has threads, and mostly a GPU.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, context, initializer=_begin)
            # Signals reach all processes of a job, but only the parent may act on them. Children
            # inherit the blocked signals, and start with the first submissions.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
            for _ in range(processes):
                self._pool.submit(torch.set_num_threads, 1)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._running: set[Future[None]] = set()

    @contextmanager
    def _block(self) -> Iterator[None]:
        try:
            yield
            self.finish()
        finally:
            self.close()

    def finish(self) -> None:
        """Wait for all clips."""
        self._collect(0)

    def close(self) -> None:
        """End the processes after the clips that they have begun; the others are not written."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def write(self, paths: ClipPaths, clip: Clip) -> None:
        """Write a clip in the background; blocks while too many clips wait."""
        if self._pool is None:
            write_clip(paths, clip)
            return
        cameras, depth = clip.cameras, clip.depth
        parts = {"c2w": cameras.c2w, "intrinsics": cameras.intrinsics}
        parts |= {"frames": clip.frames, "latents": clip.latents}
        # Half floats, as in the archive, are half of the bytes.
        parts["depth"] = None if depth is None else depth.half()
        arrays = {name: part.cpu().numpy() for name, part in parts.items() if part is not None}
        size = (cameras.width, cameras.height)
        writing = self._pool.submit(_write, paths, arrays, size=size, fps=clip.fps, meta=clip.meta)
        self._running.add(writing)
        self._collect(WAITING * self.processes)

    def _collect(self, most: int) -> None:
        """Wait until at most `most` clips are left, and raise the errors of the others."""
        done = {future for future in self._running if future.done()}
        while len(self._running) - len(done) > most:
            done |= wait(self._running - done, return_when=FIRST_COMPLETED).done
        self._running -= done
        for future in done:
            future.result()


def _write(
    paths: ClipPaths,
    arrays: Mapping[str, Any],
    size: tuple[int, int],
    fps: float | int,
    meta: Mapping[str, object],
) -> None:
    """Write a clip given as arrays: tensors would travel through shared memory, often too small."""
    parts = {name: torch.from_numpy(array) for name, array in arrays.items()}
    cameras = Cameras(parts["c2w"], parts["intrinsics"], width=size[0], height=size[1])
    depth = parts["depth"].float() if "depth" in parts else None
    frames, latents = parts.get("frames"), parts.get("latents")
    write_clip(paths, Clip(cameras, fps, frames, latents=latents, depth=depth, meta=meta))


def _begin() -> None:
    torch.set_num_threads(1)
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    """End this process when its parent has ended: a killed parent cannot say so."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "not a process of a pool"
    parent.join()
    os._exit(1)
