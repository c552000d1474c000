"""Which run makes a scene: locks that keep two runs on one folder from making the same one.

A run passes over the scenes that another one is making, makes all others, and comes back to those
last: it waits until the other run lets go of them, and makes what is still missing then.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from ..io.locks import HeldError, process_lock
from .finished import FinishedScenes
from .outputs import OutputTree

EXPECTED = "one run at a time for each scene; wait for it, or choose another out_dir_inference"


@dataclass(frozen=True)
class Claim:
    """A scene that is locked until `release` is called; `times` are still to be made."""

    times: list[int | None]
    release: Callable[[], None]


class Claims:
    """The scenes that this run has locked, at all target times, and those that others have."""

    def __init__(
        self, finished: FinishedScenes, trees: Mapping[int | None, OutputTree], stack: ExitStack
    ) -> None:
        """Claim nothing yet; the end of `stack` releases what is still locked."""
        self.taken: dict[int, Claim] = {}
        self.held: list[int] = []
        self._finished, self._trees, self._stack = finished, trees, stack

    def take(self, indices: Iterable[int], wait: bool = False) -> Iterator[int]:
        """Yield the scenes that are still to be made, locked.

        Those of other runs are waited for, or else noted in `held`. The numbers have to grow: two
        runs that wait for each other would do so for ever.
        """
        for index in indices:
            with ExitStack() as locks:
                try:
                    for tree in self._trees.values():
                        locks.enter_context(process_lock(tree.lock(index), EXPECTED, wait))
                except HeldError:
                    self.held.append(index)
                    continue
                # Another run may have made it since this one looked.
                times = self._finished.unfinished(self._trees, index)
                if not times:
                    continue
                kept = locks.pop_all()
            self._stack.push(kept)
            self.taken[index] = Claim(times, kept.close)
            yield index


def remove_leftovers(tree: OutputTree) -> None:
    """Remove the locks of runs that were killed."""
    for path in tree.root.glob("meta/.sample_*.lock"):
        with suppress(HeldError), process_lock(path, EXPECTED):
            pass


def settle(tree: OutputTree, index: int, files: Iterable[Path]) -> list[Path]:
    """The files of a scene that are gone, once no other run is making the scene again."""
    files = list(files)
    gone = [path for path in files if not path.is_file()]
    if not gone or not tree.lock(index).parent.is_dir():
        return gone
    with process_lock(tree.lock(index), EXPECTED, wait=True):
        return [path for path in files if not path.is_file()]
