"""The published rules of the draws: exact facts, and frequencies of random ones."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np

from src.models.data.frames import (
    draw_cycled,
    ping_pong,
    ping_pong_starts,
)
from src.models.data.registry import DATASETS, DatasetSpec
from src.models.data.sampling import ExampleSamplingConfig, Selection, draw_frames

from .compare import Agreement, fact
from .draw_facts import (
    bucket_names,
    equal,
    inclusion,
    random_names,
    repeats,
    trajectory_number,
    weights,
)
from .fixture import Config, Fixture

# Frequencies of single frames are compared closely: with 8000 draws ours are to 0.0035.
DRAWS = 8000
LONG_DRAWS = 4000
# Means over so many draws agree within this many standard errors.
STANDARD_ERRORS = 6.0
# The greatest of many draws varies by a few frames from run to run.
EXTREME_SLACK = 5


def index_facts(fixture: Fixture) -> list[Agreement]:
    """Every fact of the fixture, case by case."""
    checks = []
    gaps = (fixture.config["min_gap"], fixture.config["max_gap"])
    for name, facts in fixture.raw["facts"].items():
        if name not in FACTS:
            checks.append(fact(name, False, "a fact that is not checked"))
            continue
        # A fact is a list of cases, or holds one, or is the only case itself.
        cases = facts if isinstance(facts, list) else facts.get("cases", [facts])
        for number, case in enumerate(cases):
            generator = np.random.default_rng(number)
            noting = Config(case | {"gaps": gaps})
            # A sentence, and the number of recorded trajectories.
            noting.describes("gaps", "rule", "cameras")
            noting.require(start_view_idx=0)
            for check in FACTS[name](noting, generator):
                label = f"{name}[{number}] {check.name}"
                checks.append(Agreement(label, check.error, check.tolerance, check.note))
            if unread := ", ".join(noting.unread()):
                checks.append(fact(f"{name}[{number}]", False, f"not supported: {unread}"))
    return checks


def sampling_config(config: Mapping[str, Any]) -> ExampleSamplingConfig:
    """The configuration of the draws out of the published keys."""
    inputs = config["num_input_views"]
    return ExampleSamplingConfig(
        num_input_frames=inputs,
        num_targets=max(config.get("num_views", inputs) - inputs, 1),
        max_trajectories=config["num_input_multi_views"],
        trajectory_sampling=config.get("static_view_indices_sampling", "fixed"),
        fixed_trajectories=config["static_view_indices_fixed"],
        target_stride=config["target_index_subsample"],
        target_frame=config.get("target_index_manual"),
        freeze_time=config["set_manual_time_idx"],
    )


def mirror(case: dict, generator: np.random.Generator) -> list[Agreement]:
    """Ping-pong lists by start, and the starts that are drawn."""
    frames, count = case["num_frames"], case["num_input_views"]
    starts = ping_pong_starts(frames, count)
    checks = [equal("starts", starts, case["number_of_valid_start_positions"])]
    for start, published in case["lists"].items():
        checks.append(equal(start, ping_pong(frames, count, int(start)), published))
    sampling = ExampleSamplingConfig(num_input_frames=count, num_targets=1)
    firsts = Counter(
        _train(generator, True, sampling, ("0",), frames).inputs[0] for _ in range(60 * starts)
    )
    lists = {tuple(ping_pong(frames, count, start)) for start in range(starts)}
    uniform = case["random_start_uniform_over_all_valid"]
    return [*checks, equal("all starts and no others are drawn", set(firsts) == lists, uniform)]


def static_test(case: dict, generator: np.random.Generator) -> list[Agreement]:
    """Inputs and targets of a test item."""
    ours = _test(generator, True, case)
    return [
        equal("inputs", [frame for part in ours.inputs for frame in part], case["input_frames"]),
        equal("targets", list(ours.target_frames), case["target_frames"]),
        equal("names", list(ours.trajectories), case["views"]),
        equal("target names", list(ours.target_trajectories), case["views"]),
        equal("number", len(ours.trajectories), case["num_trajectories_used"]),
    ]


def dynamic_test(case: dict, generator: np.random.Generator) -> list[Agreement]:
    """Inputs, targets and time of a test item."""
    ours = _test(generator, False, case)
    times = [ours.time_frame] * len(ours.target_frames)
    return [
        *[equal("inputs", list(part), case["input_frames"]) for part in ours.inputs],
        equal("targets", list(ours.target_frames), case["target_frames_read"]),
        equal("time", times, case["target_index_returned"]),
        equal("names", list(ours.trajectories), case["input_views"]),
        equal("target names", list(ours.target_trajectories), case["target_views"]),
    ]


def long_video(case: dict, generator: np.random.Generator) -> list[Agreement]:
    """Inputs that are spread over a longer video."""
    frames, count = case["num_frames"], case["num_input_views"]
    sampling = ExampleSamplingConfig(num_input_frames=count, num_targets=case["num_targets"])
    drawn = [
        _train(generator, True, sampling, ("0",), frames, case["gaps"]) for _ in range(LONG_DRAWS)
    ]
    inputs = np.array([selection.inputs[0] for selection in drawn])
    gaps, starts = inputs[:, -1] - inputs[:, 0], inputs[:, 0]
    inside = all(
        min(s.target_frames) >= s.inputs[0][0] and max(s.target_frames) <= s.inputs[0][-1]
        for s in drawn
    )
    error = STANDARD_ERRORS * np.sqrt(1 / LONG_DRAWS + 1 / case["draws"])
    checks = [
        fact("inputs increase", bool((np.diff(inputs) > 0).all())),
        fact("targets are distinct", all(_distinct(s.target_frames) for s in drawn)),
        fact("targets are in the range", inside),
        equal("least gap", int(gaps.min()), case["gap_min"]),
        equal("greatest gap", int(gaps.max()), case["gap_max"]),
        equal("least start", int(starts.min()), case["start_min"]),
        Agreement("greatest start", abs(int(starts.max()) - case["start_max"]), EXTREME_SLACK),
        equal("last frame", int(inputs.max()), case["last_frame_max"]),
        Agreement("mean gap", abs(gaps.mean() - case["gap_mean"]), error * max(gaps.std(), 1e-9)),
    ]
    for name, gap in (("min", case["gap_min"]), ("max", case["gap_max"])):
        share = case[f"gap_frequency_at_{name}"]
        tolerance = error * max(np.sqrt(share * (1 - share)), 1e-9)
        checks.append(Agreement(f"share at {name}", abs((gaps == gap).mean() - share), tolerance))
    return checks


def exact_length(case: dict, generator: np.random.Generator) -> list[Agreement]:
    """Clips of just the length of the input."""
    count, targets = case["num_input_views"], case["num_targets"]
    names = tuple(map(str, range(case["trajectories"])))
    sampling = ExampleSamplingConfig(num_input_frames=count, num_targets=targets)
    ours = _train(generator, True, sampling, names, count)
    total = sum(map(len, ours.inputs)) + len(ours.target_frames)
    return [
        equal("inputs", ours.inputs, (tuple(range(count)),) * len(names)),
        fact("targets are distinct frames", _distinct(ours.target_frames)),
        fact("targets are frames", set(ours.target_frames) <= set(range(count))),
        equal("indices", total, case["total_indices"]),
    ]


def dynamic_training(case: dict, generator: np.random.Generator) -> list[Agreement]:
    """Training items of dynamic scenes: one moment from many trajectories."""
    spec = DATASETS["lyra_dynamic"]
    count = case["num_input_multi_views"]
    from_inputs = case["select_target_views_input_dynamic"]
    sampling = ExampleSamplingConfig(
        num_input_frames=case["num_input_views"],
        num_targets=case["num_targets"],
        targets_from_inputs=from_inputs,
    )
    drawn = [
        _train(
            generator,
            False,
            sampling,
            tuple(draw_cycled(generator, spec.source_trajectories or (), count)),
            case["num_frames"],
        )
        for _ in range(DRAWS)
    ]
    times = np.array([selection.time_frame for selection in drawn])
    targets = [selection.target_trajectories for selection in drawn]
    among = all(set(s.target_trajectories) <= set(s.trajectories) for s in drawn)
    checks = [
        equal("inputs", _support([s.trajectories for s in drawn]), case["input_views_support"]),
        equal("targets", _support(targets), case["target_views_support"]),
        equal("repeats", repeats(targets), sorted(case["target_view_multiplicities"])),
        equal("from inputs", among, case["targets_always_among_inputs"]),
        equal("moments", {len(s.target_frames) for s in drawn}, {case["number_of_target_frames"]}),
        fact("one moment", all(s.target_frames == (s.time_frame,) for s in drawn)),
        equal("first", int(times.min()), case["target_frame_min"]),
        equal("last", int(times.max()), case["target_frame_max"]),
    ]
    for name, frame in (("first", times.min()), ("last", times.max())):
        share = case[f"target_frame_frequency_{name}"]
        checks.append(
            Agreement(f"share of {name}", abs((times == frame).mean() - share), case["atol"])
        )
    return checks


FACTS: dict[str, Callable[[dict, np.random.Generator], list[Agreement]]] = {
    "mirror": mirror,
    "weighted_sampling_probabilities": weights,
    "weighted_sampling_inclusion": inclusion,
    "static_test": static_test,
    "dynamic_test": dynamic_test,
    "static_training_long_video": long_video,
    "static_training_exact_length": exact_length,
    "random_bucket_views": bucket_names,
    "random_views": random_names,
    "dynamic_training": dynamic_training,
    "number_of_trajectories": trajectory_number,
}


@lru_cache
def _spec(is_static: bool, gaps: tuple[int, int] = (45, 121)) -> DatasetSpec:
    spec = DATASETS["lyra_static" if is_static else "lyra_dynamic"]
    return replace(spec, min_gap=gaps[0], max_gap=gaps[1])


def _test(generator: np.random.Generator, is_static: bool, case: dict) -> Selection:
    names = tuple(case["static_view_indices_fixed"])
    sampling, frames = sampling_config(case), case["num_frames"]
    return draw_frames(generator, _spec(is_static), sampling, names, frames, "test")


def _train(
    generator: np.random.Generator,
    is_static: bool,
    sampling: ExampleSamplingConfig,
    names: tuple[str, ...],
    frames: int,
    gaps: tuple[int, int] = (45, 121),
) -> Selection:
    spec = _spec(is_static, gaps)
    return draw_frames(generator, spec, sampling, names, frames, "train")


def _distinct(things: Sequence[object]) -> bool:
    return len(set(things)) == len(things)


def _support(draws: Sequence[Sequence[str]]) -> list[int]:
    return sorted({int(name) for draw in draws for name in draw})
