"""The published rules of single draws: lists, weights, names and numbers."""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from src.models.data.frames import (
    draw_cycled,
    draw_distinct,
    draw_from_buckets,
    draw_weights,
)
from src.models.data.sampling import ExampleSamplingConfig, draw_number

from .compare import Agreement, fact

DRAWS = 6000


def weights(case: dict, generator: np.random.Generator) -> list[Agreement]:
    """Probabilities of the first draw."""
    del generator
    biases = ("linear", "squared", "exponential")
    errors = {
        bias: float(np.abs(draw_weights(case["pool_size"], bias) - case[bias]).max())
        for bias in biases
    }
    return [Agreement(bias, error, 1e-12) for bias, error in errors.items()]


def inclusion(case: dict, generator: np.random.Generator) -> list[Agreement]:
    """Frequencies of all entries, and of first ones."""
    size, count = case["pool_size"], case["num_samples"]
    drawn = [
        draw_distinct(generator, range(size), count, case["bias"]) for _ in range(case["draws"])
    ]
    included, first = (
        {str(place): share for place, share in enumerate(case[key])}
        for key in ("inclusion_frequency", "first_element_frequency")
    )
    return [
        fact("distinct", all(len(set(draw)) == count for draw in drawn)),
        frequencies("inclusion", drawn, included, case["atol"]),
        frequencies("first", [draw[:1] for draw in drawn], first, case["atol"]),
    ]


def bucket_names(case: dict, generator: np.random.Generator) -> list[Agreement]:
    """Trajectories drawn from buckets."""
    buckets, count = case["sampling_buckets"], case["num_input_multi_views"]
    bucket_of = {name: number for number, bucket in enumerate(buckets) for name in bucket}
    drawn = [draw_from_buckets(generator, buckets, count) for _ in range(DRAWS)]
    distinct = sorted({len({bucket_of[name] for name in draw}) for draw in drawn})
    first = [draw[:1] for draw in drawn]
    return [
        equal("distinct buckets", distinct, case["distinct_buckets_per_draw"]),
        frequencies("per draw", drawn, case["mean_count_per_draw"], case["atol"]),
        frequencies("first", first, case["first_frequency"], case["atol"]),
    ]


def random_names(case: dict, generator: np.random.Generator) -> list[Agreement]:
    """Trajectories drawn without buckets."""
    names = [str(number + case["start_view_idx"]) for number in range(case["cameras"])]
    drawn = [draw_cycled(generator, names, case["num_views"]) for _ in range(DRAWS)]
    return [
        equal("repeats", repeats(drawn), sorted(case["multiplicity_patterns"])),
        frequencies("per draw", drawn, case["mean_count_per_draw"], case["atol"]),
    ]


def trajectory_number(case: dict, generator: np.random.Generator) -> list[Agreement]:
    """Numbers of input trajectories."""
    most = case["num_input_multi_views"]
    sampling = ExampleSamplingConfig(max_trajectories=most)
    drawn = [[draw_number(generator, sampling, most, "train")] for _ in range(DRAWS)]
    return [
        frequencies("training", drawn, case["training_frequency"], case["atol"]),
        equal("test", draw_number(generator, sampling, most, "test"), case["test_value"]),
    ]


def equal(name: str, ours: object, theirs: object) -> Agreement:
    """A check that two values are equal."""
    return fact(name, ours == theirs, f"{ours}, expected {theirs}"[:200])


def repeats(draws: Sequence[Sequence[str]]) -> list[list[int]]:
    """Returns the different patterns of repeats in draws, such as [1, 1, 2]."""
    return sorted(map(list, {tuple(sorted(Counter(draw).values())) for draw in draws}))


def frequencies(
    name: str, draws: Sequence[Sequence[object]], published: dict[str, float], atol: float
) -> Agreement:
    """Compares the mean count of each entry in a draw with the published one."""
    counts = Counter(str(thing) for draw in draws for thing in draw)
    names = counts.keys() | published.keys()
    worst = max(abs(counts[key] / len(draws) - published.get(key, 0.0)) for key in names)
    return Agreement(name, worst, atol)
