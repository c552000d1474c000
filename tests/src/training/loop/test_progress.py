"""How much of a run is gone, by its steps and by the clock."""

import pytest

from src.training.loop.interruption import Minutes, Span


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds

    def wait(self, minutes: float) -> None:
        self.seconds += 60 * minutes


def test_steps_count_from_where_the_run_began() -> None:
    """The steps of an earlier stage among those of this one; a share beyond 1."""
    span = Span(100, 200)
    assert [span.share(step) for step in (50, 100, 150, 200, 300)] == [0, 0, 0.5, 1, 1]


def test_a_run_without_limits_never_ends() -> None:
    """A limit that nobody asked for."""
    clock = Clock()
    minutes = Minutes(None, None, clock)
    minutes.begin_training(0)
    clock.wait(10**6)
    assert minutes.share == 0 and not minutes.over and not minutes.run_is_over
    assert minutes.trained == pytest.approx(10**6)


def test_the_limit_of_a_job_includes_its_preparation() -> None:
    """A job that ends late for its preparation, or a share that starts above 0."""
    clock = Clock()
    minutes = Minutes(10, None, clock)
    clock.wait(2)
    minutes.begin_training(earlier=30)
    assert minutes.share == 0
    clock.wait(4)
    assert minutes.share == pytest.approx(0.5) and not minutes.over
    clock.wait(4)
    assert minutes.share == pytest.approx(1) and minutes.over and not minutes.run_is_over
    assert minutes.trained == pytest.approx(38)


def test_a_job_that_was_only_prepared_is_over() -> None:
    """A division by the no time that is left."""
    clock = Clock()
    minutes = Minutes(10, None, clock)
    clock.wait(11)
    minutes.begin_training(0)
    assert minutes.share == 1 and minutes.over


def test_the_time_of_a_run_goes_on_over_jobs() -> None:
    """A share of the job's time in place of the run's, or preparation that counts as training."""
    clock = Clock()
    minutes = Minutes(10, 20, clock)
    clock.wait(2)
    minutes.begin_training(earlier=5)
    assert minutes.share == pytest.approx(0.25)
    clock.wait(8.01)
    assert minutes.over and not minutes.run_is_over
    minutes = Minutes(10, 20, clock)
    minutes.begin_training(earlier=13)
    clock.wait(7.01)
    assert minutes.over and minutes.run_is_over
