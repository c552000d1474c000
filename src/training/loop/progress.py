"""The progress of a run in steps and in minutes.

A job is one call of `train`; a run is all the jobs that write into one folder.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass


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
        """Begin a job.

        Args:
            job_limit: Minutes from now until the job ends.
            run_limit: Minutes of training until the run ends, in this job and earlier ones.
            now: A clock in seconds.
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
