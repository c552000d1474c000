"""Locks that keep two runs on one folder from making the same scene.

A run skips the scenes that another one is making, makes all others, then waits for the other run
and makes what is still missing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple

from ..io.locks import HeldError, process_lock
from .finished import FinishedScenes
from .outputs import File, OutputTree

EXPECTED = "one run at a time for each scene; wait for it, or choose another out_dir_inference"


class Claim(NamedTuple):
    """A scene that is locked until `release` is called, and the times still to be made."""

    index: int
    times: list[int | None]
    release: Callable[[], None]


def claim_scenes(
    indices: Iterable[int],
    finished: FinishedScenes,
    trees: Mapping[int | None, OutputTree],
    stack: ExitStack,
    held: list[int] | None = None,
) -> Iterator[Claim]:
    """Yields the unfinished scenes, locked at all times until released or `stack` ends.

    The numbers of scenes that other runs hold are added to `held`; without it, this run waits for
    those scenes. `indices` have to grow, or two runs could wait for each other forever.
    """
    for index in indices:
        with ExitStack() as locks:
            try:
                for tree in trees.values():
                    path = tree.path(File.LOCK, index)
                    locks.enter_context(process_lock(path, EXPECTED, wait=held is None))
            except HeldError:
                assert held is not None, "a lock that was waited for is held"
                held.append(index)
                continue
            # Another run may have made it since this one looked.
            times = finished.unfinished(trees, index)
            if not times:
                continue
            kept = locks.pop_all()
        stack.push(kept)
        yield Claim(index, times, kept.close)


def remove_leftovers(tree: OutputTree) -> None:
    """Removes the locks of runs that were killed."""
    for path in tree.root.glob("meta/.sample_*.lock"):
        with suppress(HeldError), process_lock(path, EXPECTED):
            pass


def missing_files(tree: OutputTree, index: int, files: Iterable[Path]) -> list[Path]:
    """Returns the files of a scene that are gone, once no other run is making it again."""
    files = list(files)
    gone = [path for path in files if not path.is_file()]
    lock = tree.path(File.LOCK, index)
    if not gone or not lock.parent.is_dir():
        return gone
    with process_lock(lock, EXPECTED, wait=True):
        return [path for path in files if not path.is_file()]
