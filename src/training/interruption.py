"""Being told to stop: a job ends after its step instead of in the middle of it."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Stopped(RuntimeError):
    """A training that did not come to its end, for a reason that fits in one line."""


class Interrupted(Stopped):
    """The job was told to stop and has written a checkpoint to go on from."""


class Terminations:
    """Notes the first SIGTERM inside the block; a second one ends the process as ever."""

    def __init__(self) -> None:
        self.seen = False
        self._before: Any = None

    def __enter__(self) -> "Terminations":
        # Python lets the main thread alone have a say.
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.seen = True
        self._restore()

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
            self._before = None
