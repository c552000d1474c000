"""SIGTERM and SIGINT end a job after its step."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Stopped(RuntimeError):
    """A training that ended early, for a reason that fits in one line."""

    exit_code = 1


class Interrupted(Stopped):
    """A signal ended the job; all that it trained is in a checkpoint."""

    def __init__(self, message: str, number: int | None) -> None:
        super().__init__(message)
        # As a shell reports a program that the signal ended.
        self.exit_code = 128 + (number or signal.SIGTERM)


class Terminations:
    """Notes the first SIGTERM or SIGINT inside the block; a second one ends the process."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def seen(self) -> bool:
        """Whether a signal has come."""
        return self.number is not None

    @property
    def name(self) -> str:
        """The signal's name; SIGTERM if only another process of the launch got one."""
        return signal.Signals(self.number or signal.SIGTERM).name

    def __enter__(self) -> "Terminations":
        # Only the main thread may set handlers.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                # A job that a shell runs in the background ignores Ctrl-C.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._restore()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        self._restore()

    def _restore(self) -> None:
        while self._before:
            number, handler = self._before.popitem()
            signal.signal(number, handler)
