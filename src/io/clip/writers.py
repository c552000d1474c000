"""Clips written by processes of their own, so that encoding them holds nobody up."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import torch

from ...geometry.cameras import Cameras
from .clip import Clip, ClipPaths, write_clip

# Clips that wait for each process: enough to keep it busy, and a bound for the memory.
WAITING = 4


@dataclass(frozen=True)
class _Packed:
    """A clip as plain arrays: tensors would travel through shared memory, which may be small."""

    paths: ClipPaths
    arrays: Mapping[str, Any]
    size: tuple[int, int]
    fps: float | int
    meta: Mapping[str, object]


class ClipWriters:
    """Writes clips with some processes, or in this one where there are none.

    Raises:
        OSError, InputError: of `write_clip`, from a later `write` or the end of the block, which
            waits for all clips.
    """

    def __init__(self, processes: int) -> None:
        """Start the processes: before anything that they should not share, such as a GPU."""
        assert processes >= 0, f"{processes} processes"
        self.processes = processes
        self._pool: ProcessPoolExecutor | None = None
        if processes:
            # Not forked: the parent has threads, and mostly a GPU.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(processes, context, initializer=_begin)
            # A signal to all processes of a job: what ends is for the parent to say. Children
            # inherit what is blocked, and begin with the first submissions.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
            for _ in range(processes):
                self._pool.submit(_one_thread)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._running: set[Future[None]] = set()

    def __enter__(self) -> "ClipWriters":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                self.finish()
        finally:
            self.close()

    def finish(self) -> None:
        """Wait for all clips."""
        self._collect(0)

    def close(self) -> None:
        """End the processes after the clips that they have begun; others are not written."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def write(self, paths: ClipPaths, clip: Clip) -> None:
        """Write a clip some time soon; waits while too many wait."""
        if self._pool is None:
            write_clip(paths, clip)
            return
        self._running.add(self._pool.submit(_write, _pack(paths, clip)))
        self._collect(WAITING * self.processes)

    def _collect(self, most: int) -> None:
        """Wait until at most so many are left, and raise what went wrong with the others."""
        done = {future for future in self._running if future.done()}
        while len(self._running) - len(done) > most:
            done |= wait(self._running - done, return_when=FIRST_COMPLETED).done
        self._running -= done
        for future in done:
            future.result()


def _pack(paths: ClipPaths, clip: Clip) -> _Packed:
    arrays: dict[str, Any] = {"c2w": clip.cameras.c2w, "intrinsics": clip.cameras.intrinsics}
    arrays |= {"frames": clip.frames, "latents": clip.latents}
    # Half of the bytes: the archive holds half floats.
    arrays["depth"] = None if clip.depth is None else clip.depth.half()
    arrays = {name: None if part is None else part.cpu().numpy() for name, part in arrays.items()}
    size = (clip.cameras.width, clip.cameras.height)
    return _Packed(paths, arrays, size, clip.fps, clip.meta)


def _write(packed: _Packed) -> None:
    parts = {
        name: None if part is None else torch.from_numpy(part)
        for name, part in packed.arrays.items()
    }
    c2w, intrinsics, depth = parts["c2w"], parts["intrinsics"], parts["depth"]
    assert c2w is not None and intrinsics is not None, "a clip without cameras"
    clip = Clip(Cameras(c2w, intrinsics, *packed.size), packed.fps, meta=packed.meta)
    clip = replace(clip, frames=parts["frames"], latents=parts["latents"])
    write_clip(packed.paths, clip if depth is None else replace(clip, depth=depth.float()))


def _begin() -> None:
    _one_thread()
    threading.Thread(target=_follow, daemon=True).start()


def _follow() -> None:
    """End this process when its parent has ended, of which a killed one says nothing."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "not a process of a pool"
    parent.join()
    os._exit(1)


def _one_thread() -> None:
    torch.set_num_threads(1)
