"""What is drawn of a scene: the input trajectories with their frames, and the targets.

Training draws at random, from the generators that it is given; a test takes every frame. The rules
are the published ones; where they surprise, a comment says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...runtime import InputError
from .frames import (
    Bias,
    draw_cycled,
    draw_distinct,
    draw_from_buckets,
    draw_spread,
    ping_pong,
    ping_pong_starts,
)
from .registry import DatasetSpec

Mode = Literal["train", "test"]
TrajectorySampling = Literal["random", "random_bucket", "fixed", "empty"]


@dataclass
class ExampleSamplingConfig:
    """How inputs and targets of a scene are chosen; defaults as published.

    Attributes:
        num_input_frames: frames of each input trajectory.
        num_targets: training: targets of each trajectory; of a dynamic scene, targets in all.
        max_trajectories: most input trajectories.
        vary_trajectories: training: their number is uniform between 1 and the most.
        trajectory_sampling: `fixed` takes `fixed_trajectories` in their order, `empty` the clips
            that lie in the root itself.
        fixed_trajectories: for `fixed`, which then sets the number of trajectories.
        frame_sampling: training: how targets of static scenes lean towards late frames.
        mirror: training: videos that are too short are played forwards and backwards.
        targets_from_inputs: training, dynamic: targets are seen from input trajectories only.
        target_stride: test: one target every so many frames.
        target_frame: test: the time of a dynamic scene (None is frame 0).
        freeze_time: test: the cameras of all frames look at this time; otherwise those of this
            frame only.
    """

    num_input_frames: int = 121
    num_targets: int = 9
    max_trajectories: int = 1
    vary_trajectories: bool = True
    trajectory_sampling: TrajectorySampling = "random"
    fixed_trajectories: list[str] | None = None
    frame_sampling: Bias = "uniform"
    mirror: bool = True
    targets_from_inputs: bool = True
    target_stride: int = 1
    target_frame: int | None = None
    freeze_time: bool = False

    def __post_init__(self) -> None:
        least = {"num_input_frames": 2, "num_targets": 1, "max_trajectories": 1, "target_stride": 1}
        for name, minimum in least.items():
            if getattr(self, name) < minimum:
                raise InputError(f"sampling.{name}", getattr(self, name), f"at least {minimum}")
        if self.trajectory_sampling == "fixed" and not self.fixed_trajectories:
            value = self.fixed_trajectories
            raise InputError("sampling.fixed_trajectories", value, "a list of trajectory names")


@dataclass(frozen=True)
class Selection:
    """What to read of a scene: `inputs[i]` are the frames of `trajectories[i]`.

    Every frame of `target_frames` is read from every trajectory of `target_trajectories`.
    `time_frame` is the moment that a dynamic scene is asked for.
    """

    trajectories: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    target_trajectories: tuple[str, ...]
    target_frames: tuple[int, ...]
    time_frame: int | None = None


def draw_number(
    generator: np.random.Generator, sampling: ExampleSamplingConfig, available: int, mode: Mode
) -> int:
    """How many of the `available` trajectories are inputs."""
    if sampling.trajectory_sampling == "fixed":
        return len(sampling.fixed_trajectories or [])
    number = sampling.max_trajectories
    if mode == "train" and sampling.vary_trajectories:
        number = int(generator.integers(1, number, endpoint=True))
    return min(number, available)


def draw_trajectories(
    generator: np.random.Generator,
    spec: DatasetSpec,
    sampling: ExampleSamplingConfig,
    available: Sequence[str],
    number: int,
) -> tuple[str, ...]:
    """The names of `number` input trajectories out of those `available`, in random order.

    Raises:
        InputError: buckets that are not made of the available trajectories.
    """
    if sampling.trajectory_sampling == "fixed":
        return tuple(sampling.fixed_trajectories or [])
    # The buckets are a rule for static scenes; inputs of dynamic ones are drawn without them.
    if sampling.trajectory_sampling == "random_bucket" and spec.is_static:
        buckets = spec.buckets or [(name,) for name in available]
        if sorted(name for bucket in buckets for name in bucket) != sorted(available):
            expected = f"buckets of {list(available)}, or trajectory sampling `random`"
            raise InputError(spec.root, f"sampling buckets {list(buckets)}", expected)
        return tuple(draw_from_buckets(generator, buckets, number))
    return tuple(draw_cycled(generator, available, number))


def draw_frames(
    generator: np.random.Generator,
    spec: DatasetSpec,
    sampling: ExampleSamplingConfig,
    trajectories: tuple[str, ...],
    num_frames: int,
    mode: Mode,
) -> Selection:
    """The input and target frames for `trajectories` of `num_frames` frames each.

    Raises:
        InputError: too few frames, a target frame that is not among them.
    """
    if mode == "test":
        return _test_frames(spec, sampling, trajectories, num_frames)
    if num_frames < sampling.num_input_frames and not sampling.mirror:
        raise InputError(spec.root, f"clips of {num_frames} frames", _at_least(sampling))
    if spec.is_static:
        return _static_frames(generator, spec, sampling, trajectories, num_frames)
    return _dynamic_frames(generator, spec, sampling, trajectories, num_frames)


def _static_frames(
    generator: np.random.Generator,
    spec: DatasetSpec,
    sampling: ExampleSamplingConfig,
    trajectories: tuple[str, ...],
    num_frames: int,
) -> Selection:
    """Training: all trajectories have the same targets, which may be inputs as well."""
    count = sampling.num_input_frames
    if num_frames > count:
        frames = draw_spread(generator, num_frames, count, (spec.min_gap, spec.max_gap))
        pool = list(range(frames[0], frames[-1] + 1))
        inputs = [frames] * len(trajectories)
    else:
        # A clip of just the right length is not mirrored.
        most = ping_pong_starts(num_frames, count) if num_frames < count else 1
        starts = generator.integers(most, size=len(trajectories))
        inputs = [ping_pong(num_frames, count, int(start)) for start in starts]
        # The first trajectory's, each once: mirrored frames are no further targets.
        pool = sorted(set(inputs[0]))
    targets = draw_distinct(generator, pool, sampling.num_targets, sampling.frame_sampling)
    return Selection(trajectories, tuple(map(tuple, inputs)), trajectories, tuple(targets))


def _dynamic_frames(
    generator: np.random.Generator,
    spec: DatasetSpec,
    sampling: ExampleSamplingConfig,
    trajectories: tuple[str, ...],
    num_frames: int,
) -> Selection:
    """Training: one moment, seen from as many trajectories as there are targets."""
    inputs = tuple(ping_pong(num_frames, sampling.num_input_frames))
    # Of the input frames as they are: a mirrored one is drawn the oftener.
    frame = inputs[int(generator.integers(len(inputs)))]
    pool: Sequence[str] = trajectories
    if not sampling.targets_from_inputs:
        pool = [*(spec.source_trajectories or ()), *spec.target_trajectories]
    names = draw_cycled(generator, pool, sampling.num_targets)
    return Selection(trajectories, (inputs,) * len(trajectories), tuple(names), (frame,), frame)


def _test_frames(
    spec: DatasetSpec,
    sampling: ExampleSamplingConfig,
    trajectories: tuple[str, ...],
    num_frames: int,
) -> Selection:
    """All frames as inputs, every `target_stride`-th one of each trajectory as a target."""
    count, frame = sampling.num_input_frames, sampling.target_frame
    if num_frames < count:
        raise InputError(spec.root, f"clips of {num_frames} frames", _at_least(sampling))
    if frame is not None and not 0 <= frame < count:
        raise InputError("target frame", frame, f"a frame between 0 and {count - 1}")
    inputs = (tuple(range(count)),) * len(trajectories)
    targets = tuple(range(0, count, sampling.target_stride))
    if spec.is_static:
        # As published: as many targets as ever, all of them this one frame.
        if frame is not None and not sampling.freeze_time:
            targets = (frame,) * len(targets)
        return Selection(trajectories, inputs, trajectories, targets)
    frame = frame or 0
    if not sampling.freeze_time:
        targets = (frame,)
    return Selection(trajectories, inputs, trajectories, targets, frame)


def _at_least(sampling: ExampleSamplingConfig) -> str:
    return f"clips of at least {sampling.num_input_frames} frames"
