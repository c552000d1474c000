"""The ends of a job: its last step, its minutes, or SIGTERM and SIGINT after a step.

A job is one call of `train`; a run is all the jobs that write into one folder.
"""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from types import FrameType


class Stopped(RuntimeError):
    """A training that ended early, for a reason that fits in one line."""

    exit_code = 1


class Interrupted(Stopped):
    """A signal ended the job; all that it trained is in a checkpoint."""

    def __init__(self, message: str, number: int | None) -> None:
        super().__init__(message)
        # As a shell reports a program that the signal ended.
        self.exit_code = 128 + (number or signal.SIGTERM)


class Terminations(ExitStack):
    """Notes the first SIGTERM or SIGINT inside the block; a second one ends the process."""

    number: int | None = None

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
                    self.callback(signal.signal, number, signal.signal(number, self._note))
        return super().__enter__()

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        # The handlers from before are back, here or at the end of the block.
        self.close()


@dataclass(frozen=True)
class Span:
    """The steps of a run: the numbers of its first and its last."""

    first: int
    last: int

    def share(self, step: int) -> float:
        """Returns the share that is done with update number `step`."""
        return min(max(step - self.first, 0) / max(self.last - self.first, 1), 1.0)


class Minutes:
    """The time that a run has used and its limits, if it has any."""

    def __init__(
        self,
        job_limit: float | None,
        run_limit: float | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin a job that ends in `job_limit` minutes; `now` is a clock in seconds.

        The run ends after `run_limit` minutes of training, in this job and earlier ones.
        """
        self._now, self._job_limit, self._run_limit = now, job_limit, run_limit
        self._begun = self._trained = now()
        self.earlier = 0.0

    def begin_training(self, earlier: float) -> None:
        """Begin the first step; `earlier` jobs of the run trained for so many minutes."""
        self.earlier, self._trained = earlier, self._now()

    @property
    def trained(self) -> float:
        """Minutes of training in this job and the earlier ones."""
        return self.earlier + (self._now() - self._trained) / 60

    @property
    def share(self) -> float:
        """The share of the run's time that is used; of the job's if only that is limited."""
        if self._run_limit is not None:
            return min(self.trained / self._run_limit, 1.0)
        if self._job_limit is None:
            return 0.0
        # Preparations before the first step are not training.
        left = self._job_limit - (self._trained - self._begun) / 60
        return min((self.trained - self.earlier) / left, 1.0) if left > 0 else 1.0

    @property
    def run_is_over(self) -> bool:
        """Whether the run has used all of its time, in this job or earlier ones."""
        return self._run_limit is not None and self.share >= 1

    @property
    def over(self) -> bool:
        """Whether the job must end."""
        used = (self._now() - self._begun) / 60
        return self.share >= 1 or (self._job_limit is not None and used >= self._job_limit)
