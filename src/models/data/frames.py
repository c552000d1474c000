"""Rules and draws of frame numbers and trajectory names, without any file.

Functions are pure apart from the generator that they draw from. Frames are numbered from 0.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import Float

T = TypeVar("T")
Bias = Literal["uniform", "linear", "squared", "exponential"]
# The last of a pool is exp(3) = 20 times as likely as the first.
EXPONENTIAL_RANGE = 3.0


def ping_pong(num_frames: int, count: int, start: int = 0) -> list[int]:
    """Returns `count` frames of a video that is played forwards and backwards by turns.

    The list 0 ... F-1, F-2 ... 0, 1 ... from place `start` on; turning points are not repeated.
    """
    assert num_frames > 0 and start >= 0, f"{num_frames} frames from {start}"
    period = max(2 * (num_frames - 1), 1)
    places = [(start + place) % period for place in range(count)]
    return [min(place, period - place) if num_frames > 1 else 0 for place in places]


def ping_pong_starts(num_frames: int, count: int) -> int:
    """Returns the number of starts in the published ping-pong list.

    That list ends with the first pass of the video that goes beyond `count` frames.
    """
    if num_frames == 1:
        return 1
    passes = max((count - num_frames) // (num_frames - 1), 0) + 1
    return num_frames + passes * (num_frames - 1) - count + 1


def draw_spread(
    generator: np.random.Generator, num_frames: int, count: int, gaps: tuple[int, int]
) -> list[int]:
    """Returns `count` increasing frames out of a longer video, irregularly spaced.

    The gap between first and last is uniform in `gaps` (both included), then limited to
    [count, num_frames - 1]; the start and the frames in between are uniform.
    """
    assert num_frames > count >= 2, f"{count} of {num_frames} frames"
    gap = int(generator.integers(gaps[0], gaps[1], endpoint=True))
    gap = min(max(gap, count), num_frames - 1)
    start = int(generator.integers(num_frames - gap))
    inner = generator.choice(gap - 1, size=count - 2, replace=False)
    return [start, *sorted(start + 1 + int(place) for place in inner), start + gap]


@lru_cache(maxsize=64)
def draw_weights(count: int, bias: Bias) -> Float[np.ndarray, " count"]:
    """Returns the probability of each pool entry to be drawn first; later ones weigh more.

    Entry i of n weighs 1, i, i**2 or exp(3 i / (n - 1)), divided by the sum.
    """
    places = np.arange(count, dtype=np.float64)
    last = max(count - 1, 1)
    weights = {
        "uniform": np.ones(count),
        "linear": places,
        "squared": places**2,
        "exponential": np.exp(EXPONENTIAL_RANGE * places / last),
    }[bias]
    # One entry alone weighs 0 if linear or squared.
    weights = weights / weights.sum() if weights.sum() > 0 else np.ones(count) / count
    weights.setflags(write=False)
    return weights


def draw_distinct(
    generator: np.random.Generator, pool: Sequence[T], count: int, bias: Bias = "uniform"
) -> list[T]:
    """Draws `count` entries of `pool` one after another without replacement, weighted by place.

    Entries of weight 0 come last. An exhausted pool starts again.
    """
    assert pool or not count, f"{count} of an empty pool"
    drawn: list[T] = []
    weights = draw_weights(len(pool), bias)
    while len(drawn) < count:
        # Exponential clocks ring in the order of successive weighted draws (Efraimidis, Spirakis).
        with np.errstate(divide="ignore"):
            clocks = generator.exponential(size=len(pool)) / weights
        order = np.argsort(clocks, kind="stable")[: count - len(drawn)]
        drawn += [pool[place] for place in order]
    return drawn


def draw_cycled(generator: np.random.Generator, pool: Sequence[T], count: int) -> list[T]:
    """Draws `count` entries of `pool` in random order, distinct if there are enough.

    A smaller pool is repeated up to `count` entries before the shuffle, so that the numbers of
    times that two entries come differ by at most one.
    """
    assert pool or not count, f"{count} of an empty pool"
    if count <= len(pool):
        places = generator.permutation(len(pool))[:count]
    else:
        places = generator.permutation(count) % len(pool)
    return [pool[place] for place in places]


def draw_from_buckets(
    generator: np.random.Generator, buckets: Sequence[Sequence[T]], count: int
) -> list[T]:
    """Draws one entry each of `count` buckets in random order, distinct if there are enough."""
    chosen = draw_cycled(generator, buckets, count)
    return [bucket[int(generator.integers(len(bucket)))] for bucket in chosen]
