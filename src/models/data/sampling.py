"""The rules by which input trajectories, their frames and the targets of a scene are drawn.

Training draws at random from the given generators; a test takes every frame. The rules are the
published ones; comments mark surprising ones.
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


@dataclass(kw_only=True)
class ExampleSamplingConfig:
    """The choice of inputs and targets of a scene; defaults as published.

    Attributes:
        num_input_frames: frames of each input trajectory.
        num_targets: training: targets of each trajectory; of a dynamic scene, targets in all.
        max_trajectories: most input trajectories.
        vary_trajectories: training: their number is uniform between 1 and the most.
        trajectory_sampling: `fixed` takes `fixed_trajectories` in their order, `empty` the clips
            in the root itself.
        fixed_trajectories: for `fixed`; their number is the number of inputs.
        frame_sampling: training: preference of static targets for late frames.
        mirror: training: short videos are played forwards and backwards.
        targets_from_inputs: training, dynamic: only input trajectories are targets.
        target_stride: test: one target every so many frames.
        target_frame: test: the time of a dynamic scene (None is frame 0).
        freeze_time: test: the cameras of all frames see this time; otherwise only the cameras of
            this frame.
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
    """The parts of a scene to read: `inputs[i]` are the frames of `trajectories[i]`.

    Every target frame is read from every target trajectory. `time_frame` is the moment of a dynamic
    scene to reconstruct.
    """

    trajectories: tuple[str, ...]
    inputs: tuple[tuple[int, ...], ...]
    target_trajectories: tuple[str, ...]
    target_frames: tuple[int, ...]
    time_frame: int | None = None


def draw_number(
    generator: np.random.Generator, sampling: ExampleSamplingConfig, available: int, mode: Mode
) -> int:
    """Draws how many of the `available` trajectories are inputs."""
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
    """Draws `number` input trajectories in random order; `InputError` if buckets don't fit them."""
    if sampling.trajectory_sampling == "fixed":
        return tuple(sampling.fixed_trajectories or [])
    # Buckets are a rule for static scenes only.
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
    """Draws the input and target frames of `trajectories` with `num_frames` frames each.

    Raises `InputError` for too few frames, a target frame that is not among them.
    """
    count = sampling.num_input_frames
    if num_frames < count and (mode == "test" or not sampling.mirror):
        expected = f"clips of at least {count} frames"
        raise InputError(spec.root, f"clips of {num_frames} frames", expected)
    if mode == "test":
        return _test_frames(spec, sampling, trajectories)
    if spec.is_static:
        return _static_frames(
            generator, spec, sampling, trajectories=trajectories, num_frames=num_frames
        )
    # One moment, seen from as many trajectories as there are targets. A frame that mirroring
    # repeats is drawn more often.
    inputs = tuple(ping_pong(num_frames, count))
    frame = inputs[int(generator.integers(len(inputs)))]
    pool: Sequence[str] = trajectories
    if not sampling.targets_from_inputs:
        pool = [*(spec.source_trajectories or ()), *spec.target_trajectories]
    names = draw_cycled(generator, pool, sampling.num_targets)
    return Selection(
        trajectories=trajectories,
        inputs=(inputs,) * len(trajectories),
        target_trajectories=tuple(names),
        target_frames=(frame,),
        time_frame=frame,
    )


def _static_frames(
    generator: np.random.Generator,
    spec: DatasetSpec,
    sampling: ExampleSamplingConfig,
    trajectories: tuple[str, ...],
    num_frames: int,
) -> Selection:
    """Draws for training: all trajectories have the same targets, which may be inputs as well."""
    count = sampling.num_input_frames
    if num_frames > count:
        gaps = (spec.min_gap, spec.max_gap)
        frames = draw_spread(generator, num_frames, count, gaps=gaps)
        pool = list(range(frames[0], frames[-1] + 1))
        inputs = [frames] * len(trajectories)
    else:
        # A clip of just the right length is not mirrored.
        most = ping_pong_starts(num_frames, count) if num_frames < count else 1
        starts = generator.integers(most, size=len(trajectories))
        inputs = [ping_pong(num_frames, count, int(start)) for start in starts]
        # Targets are the first trajectory's frames, each once although mirroring repeats them.
        pool = sorted(set(inputs[0]))
    bias = sampling.frame_sampling
    targets = draw_distinct(generator, pool, sampling.num_targets, bias=bias)
    return Selection(
        trajectories=trajectories,
        inputs=tuple(map(tuple, inputs)),
        target_trajectories=trajectories,
        target_frames=tuple(targets),
    )


def _test_frames(
    spec: DatasetSpec, sampling: ExampleSamplingConfig, trajectories: tuple[str, ...]
) -> Selection:
    """Takes all frames as inputs, every `target_stride`-th one of each trajectory as a target."""
    count, frame = sampling.num_input_frames, sampling.target_frame
    if frame is not None and not 0 <= frame < count:
        raise InputError("target frame", frame, f"a frame between 0 and {count - 1}")
    inputs = (tuple(range(count)),) * len(trajectories)
    targets = tuple(range(0, count, sampling.target_stride))
    if not spec.is_static:
        frame = frame or 0
    if frame is not None and not sampling.freeze_time:
        # As published: the number of static targets stays, all of them this one frame.
        targets = (frame,) * (len(targets) if spec.is_static else 1)
    return Selection(
        trajectories=trajectories,
        inputs=inputs,
        target_trajectories=trajectories,
        target_frames=targets,
        time_frame=None if spec.is_static else frame,
    )
