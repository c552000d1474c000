"""Draws over numbers: no duplicates, in range, and distributed as they should be."""

from collections import Counter
from itertools import permutations

import numpy as np
import pytest

from src.models.data.frames import (
    Bias,
    draw_cycled,
    draw_distinct,
    draw_from_buckets,
    draw_spread,
    draw_weights,
    ping_pong,
    ping_pong_starts,
)

BIASES: tuple[Bias, ...] = ("uniform", "linear", "squared", "exponential")


def chi_square(counts: np.ndarray, expected: np.ndarray) -> bool:
    """Whether counts agree with expectations, within five deviations of the statistic."""
    statistic = ((counts - expected) ** 2 / expected).sum()
    freedom = len(counts) - 1
    return bool(statistic < freedom + 5 * np.sqrt(2 * freedom))


def written_out(num_frames: int, passes: int) -> list[int]:
    """The ping-pong list pass by pass, as one would write it down."""
    frames = list(range(num_frames))
    for number in range(passes):
        frames += list(range(num_frames))[-2::-1] if number % 2 == 0 else range(1, num_frames)
    return frames


@pytest.mark.parametrize("num_frames", [2, 3, 5, 10, 16])
@pytest.mark.parametrize("count", [3, 17])
def test_ping_pong_is_the_list_written_out(num_frames: int, count: int) -> None:
    """Would catch a turning point that comes twice, and a start counted in frames."""
    long = written_out(num_frames, 60)
    for start in range(2 * num_frames):
        assert ping_pong(num_frames, count, start) == long[start : start + count]


def test_ping_pong_starts_fill_the_first_list_that_is_longer() -> None:
    """Would catch an off-by-one: a last start that is never drawn, or one beyond the list."""
    for num_frames in range(2, 20):
        for count in range(num_frames, 50):
            lengths = [num_frames + p * (num_frames - 1) for p in range(99)]
            length = next(length for length in lengths if length > count)
            assert ping_pong_starts(num_frames, count) == length - count + 1


def test_a_single_frame_is_repeated() -> None:
    """Would catch a division by zero for a clip of one frame."""
    assert ping_pong(1, 3) == [0, 0, 0] and ping_pong_starts(1, 3) == 1


@pytest.mark.parametrize(("num_frames", "count"), [(18, 17), (60, 17), (121, 49), (9, 2), (3, 2)])
def test_spread_frames_increase_between_both_ends(num_frames: int, count: int) -> None:
    """Would catch duplicates, frames outside the video and an end that is not included."""
    generator = np.random.default_rng(0)
    for _ in range(200):
        frames = draw_spread(generator, num_frames, count, (45, 121))
        assert len(frames) == count and np.all(np.diff(frames) > 0)
        assert frames[0] >= 0 and frames[-1] < num_frames
        assert frames[-1] - frames[0] >= min(45, num_frames - 1)


def test_spread_frames_are_uniform() -> None:
    """Would catch a start or a gap with one end left out, and clustered frames in between."""
    generator, draws = np.random.default_rng(1), 4000
    drawn = np.array([draw_spread(generator, 30, 4, (10, 14)) for _ in range(draws)])
    gaps = drawn[:, -1] - drawn[:, 0]
    counts = np.bincount(gaps - 10, minlength=5)
    assert len(counts) == 5 and chi_square(counts, np.full(5, draws / 5))
    short = drawn[gaps == 10]
    starts = np.bincount(short[:, 0], minlength=20)
    assert len(starts) == 20 and chi_square(starts, np.full(20, len(short) / 20))
    inner = np.bincount((short[:, 1:-1] - short[:, :1]).flatten() - 1, minlength=9)
    assert len(inner) == 9 and chi_square(inner, np.full(9, 2 * len(short) / 9))


def test_weights_follow_their_formulas() -> None:
    """Would catch weights that are not normalised, shifted by one, or lean to early frames."""
    np.testing.assert_allclose(draw_weights(4, "uniform"), np.full(4, 1 / 4))
    np.testing.assert_allclose(draw_weights(4, "linear"), np.arange(4) / 6)
    np.testing.assert_allclose(draw_weights(4, "squared"), np.arange(4) ** 2 / 14)
    weights = draw_weights(7, "exponential")
    np.testing.assert_allclose(weights[-1] / weights[0], np.exp(3))
    np.testing.assert_allclose(np.diff(np.log(weights)), 0.5)
    for bias in BIASES:
        np.testing.assert_allclose(draw_weights(1, bias), [1.0])


@pytest.mark.parametrize("bias", BIASES)
def test_distinct_draws_have_the_probabilities_of_successive_draws(bias: Bias) -> None:
    """Would catch draws with replacement, a shuffled order, weights used once only."""
    generator, draws = np.random.default_rng(2), 6000
    weights = draw_weights(4, bias)
    counts = Counter(tuple(draw_distinct(generator, range(4), 3, bias)) for _ in range(draws))
    orders, expected = list(permutations(range(4), 3)), []
    for a, b, c in orders:
        rest = 1 - weights[a] - weights[b]
        third = weights[c] / rest if rest > 1e-12 else 0.0
        expected.append(draws * weights[a] * weights[b] / (1 - weights[a]) * third)
    possible = np.array(expected) > 0
    assert all(counts[order] == 0 for order, p in zip(orders, possible, strict=True) if not p)
    seen = np.array([counts[order] for order in orders])[possible]
    assert chi_square(seen, np.array(expected)[possible])


def test_an_exhausted_pool_starts_again() -> None:
    """Would catch an entry of weight 0 that is never drawn, and a count that is not kept."""
    generator = np.random.default_rng(0)
    for bias in BIASES:
        drawn = draw_distinct(generator, "abc", 8, bias)
        assert sorted(drawn[:3]) == sorted(drawn[3:6]) == ["a", "b", "c"]
        assert len(set(drawn[6:])) == 2
    assert draw_distinct(generator, "abc", 3, "linear")[-1] == "a"
    assert draw_distinct(generator, [], 0) == []


@pytest.mark.parametrize(("size", "count"), [(6, 3), (6, 6), (2, 5), (1, 2)])
def test_cycled_draws_are_as_even_as_they_can_be(size: int, count: int) -> None:
    """Would catch draws with replacement, and entries that are left out when it wraps."""
    generator = np.random.default_rng(0)
    firsts = Counter()
    for _ in range(3000):
        drawn = draw_cycled(generator, range(size), count)
        counts = np.bincount(drawn, minlength=size)
        assert counts.sum() == count and counts.max() - counts.min() <= 1
        firsts[drawn[0]] += 1
    if count <= size and size > 1:
        assert chi_square(np.array([firsts[i] for i in range(size)]), np.full(size, 3000 / size))


def test_buckets_are_distinct_and_their_entries_uniform() -> None:
    """Would catch trajectories drawn by their number instead of bucket by bucket."""
    generator, buckets, draws = np.random.default_rng(0), [["a", "b", "c"], ["d"], ["e", "f"]], 4000
    counts: Counter[str] = Counter()
    for _ in range(draws):
        drawn = draw_from_buckets(generator, buckets, 2)
        assert len({next(i for i, b in enumerate(buckets) if n in b) for n in drawn}) == 2
        counts.update(drawn)
    expected = np.array([draws * 2 / 3 / len(bucket) for bucket in buckets for _ in bucket])
    assert chi_square(np.array([counts[name] for name in "abcdef"]), expected)
    assert Counter(draw_from_buckets(generator, [["x"], ["y"]], 4)) == {"x": 2, "y": 2}


def test_the_same_generator_draws_the_same() -> None:
    """Would catch a hidden global generator."""

    def everything(seed: int) -> list[object]:
        generator = np.random.default_rng(seed)
        return [
            draw_spread(generator, 100, 9, (45, 121)),
            draw_distinct(generator, range(50), 9, "exponential"),
            draw_cycled(generator, range(12), 6),
            draw_from_buckets(generator, [[1, 2], [3, 4]], 2),
        ]

    assert everything(5) == everything(5) != everything(6)
