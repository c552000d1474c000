"""How far a run is: in steps, and where its time is limited, in minutes.

A job is one call of `train`; a run is all the jobs that write into one folder.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Span:
    """The steps of a run: the number at which it began and the one at which it ends."""

    first: int
    last: int

    def share(self, step: int) -> float:
        """How much of them is done with update number `step`."""
        return min(max(step - self.first, 0) / max(self.last - self.first, 1), 1.0)


class Minutes:
    """The time that a run has had and may have; without limits it never ends."""

    def __init__(
        self,
        job_limit: float | None,
        run_limit: float | None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin a job.

        Args:
            job_limit: minutes from now until the job ends.
            run_limit: minutes of training until the run ends, in this job and earlier ones.
            now: a clock in seconds.
        """
        self._now, self._job_limit, self._run_limit = now, job_limit, run_limit
        self._begun = self._trained = now()
        self.earlier = 0.0

    def begin_training(self, earlier: float) -> None:
        """The first step comes now; earlier jobs of the run have trained for so many minutes."""
        self.earlier, self._trained = earlier, self._now()

    @property
    def trained(self) -> float:
        """Minutes of training in this job and the earlier ones."""
        return self.earlier + (self._now() - self._trained) / 60

    @property
    def share(self) -> float:
        """How much of the time is gone: of the run's, or if that is not limited of the job's."""
        if self._run_limit is not None:
            return min(self.trained / self._run_limit, 1.0)
        if self._job_limit is None:
            return 0.0
        # What was prepared before the first step is no training.
        left = self._job_limit - (self._trained - self._begun) / 60
        return min((self.trained - self.earlier) / left, 1.0) if left > 0 else 1.0

    @property
    def run_is_over(self) -> bool:
        """Whether the run has had all of its time, in this job or earlier ones."""
        return self._run_limit is not None and self.share >= 1

    @property
    def over(self) -> bool:
        """Whether the job must end."""
        used = (self._now() - self._begun) / 60
        return self.share >= 1 or (self._job_limit is not None and used >= self._job_limit)
