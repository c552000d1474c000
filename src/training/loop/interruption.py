"""Being told to stop: a job ends after its step instead of in the middle of it."""

import signal
import threading
from types import FrameType, TracebackType
from typing import Any


class Stopped(RuntimeError):
    """A training that ended early, for a reason that fits in one line."""

    exit_code = 1


class Interrupted(Stopped):
    """The job was told to stop by a signal, and all that it trained is in a checkpoint."""

    def __init__(self, message: str, number: int | None) -> None:
        super().__init__(message)
        # As a shell reports a program that the signal ended.
        self.exit_code = 128 + (number or signal.SIGTERM)


class Terminations:
    """Notes the first SIGTERM or SIGINT inside the block; a second one ends the process as ever."""

    def __init__(self) -> None:
        self.number: int | None = None
        self._before: dict[int, Any] = {}

    @property
    def seen(self) -> bool:
        """Whether there was a signal."""
        return self.number is not None

    @property
    def name(self) -> str:
        """That of the signal; SIGTERM where another process of the launch was told."""
        return signal.Signals(self.number or signal.SIGTERM).name

    def __enter__(self) -> "Terminations":
        # Python lets the main thread alone have a say.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                # A shell lets jobs in the background ignore Ctrl-C.
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
