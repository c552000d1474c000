"""The table of seeds: no world has two uses."""

from itertools import combinations

import pytest

from nano.seeds import DEMO, TEST, TRAIN, VALIDATE
from src.runtime import InputError


def test_no_seed_has_two_uses() -> None:
    """A test world that something was trained or chosen on."""
    ranges = [part for use in (TRAIN, VALIDATE, TEST) for part in (use.static, use.dynamic)]
    for one, other in combinations([*ranges, DEMO], 2):
        assert one.stop <= other.start or other.stop <= one.start, (one, other)


@pytest.mark.parametrize(("first", "count"), [(-1, 1), (99_999, 2), (100_000, 1), (920_000, 1)])
def test_seeds_of_another_use_are_refused(first: int, count: int) -> None:
    """A training that reaches into the validation, or takes still worlds for moving ones."""
    with pytest.raises(InputError, match="still worlds in"):
        TRAIN.check("data.seed", first, count, dynamic=False)
    TRAIN.check("data.seed", 99_999, 1, dynamic=False)
    TRAIN.check("data.seed", first, 0, dynamic=False)
