"""What is drawn of a scene, by kind of scene and mode."""

from pathlib import Path

import numpy as np
import pytest

from src.models.data.registry import DATASETS, DatasetSpec
from src.models.data.sampling import (
    ExampleSamplingConfig,
    Mode,
    Selection,
    draw_frames,
    draw_number,
    draw_trajectories,
)
from src.runtime import InputError

STATIC, DYNAMIC = DATASETS["lyra_static"], DATASETS["lyra_dynamic"]
SIX = ("0", "1", "2", "3", "4", "5")


def draw(
    spec: DatasetSpec,
    sampling: ExampleSamplingConfig,
    num_frames: int,
    mode: Mode,
    names: tuple[str, ...] = ("5", "0", "3"),
    seed: int = 0,
) -> Selection:
    generator = np.random.default_rng(seed)
    return draw_frames(generator, spec, sampling, names, num_frames, mode)


def test_clips_of_the_right_length_are_taken_whole() -> None:
    """Would catch a clip of the right length that is mirrored or starts late."""
    for seed in range(5):
        selection = draw(
            STATIC, ExampleSamplingConfig(num_input_frames=9, num_targets=4), 9, "train", seed=seed
        )
        assert selection.inputs == (tuple(range(9)),) * 3
        assert len(set(selection.target_frames)) == 4
        assert set(selection.target_frames) <= set(range(9))
        assert selection.target_trajectories == selection.trajectories
        assert selection.time_frame is None
        assert len(selection.target_trajectories) == 3


def test_short_static_clips_are_mirrored_from_a_start_of_their_own() -> None:
    """Would catch one start for all trajectories, and a target that comes twice."""
    selections = [
        draw(
            STATIC, ExampleSamplingConfig(num_input_frames=17, num_targets=5), 6, "train", seed=seed
        )
        for seed in range(20)
    ]
    assert any(len(set(selection.inputs)) > 1 for selection in selections)
    for selection in selections:
        assert all(np.abs(np.diff(frames)).tolist() == [1] * 16 for frames in selection.inputs)
        assert len(set(selection.target_frames)) == 5
        assert all(0 <= frame < 6 for frame in selection.target_frames)


def test_long_static_clips_have_targets_between_their_inputs() -> None:
    """Would catch targets beyond the range that the inputs show."""
    sampling = ExampleSamplingConfig(
        num_input_frames=5, num_targets=9, frame_sampling="exponential"
    )
    for seed in range(50):
        selection = draw(STATIC, sampling, 121, "train", seed=seed)
        first, last = selection.inputs[0][0], selection.inputs[0][-1]
        assert len(set(selection.inputs)) == 1 and last - first >= 45
        assert all(first <= frame <= last for frame in selection.target_frames)


@pytest.mark.parametrize("from_inputs", [True, False])
def test_dynamic_scenes_are_supervised_at_one_time(from_inputs: bool) -> None:
    """Would catch a time for each target, and reversed trajectories as inputs or left out."""
    sampling = ExampleSamplingConfig(
        num_input_frames=9, num_targets=12, targets_from_inputs=from_inputs
    )
    frames = set()
    for seed in range(60):
        selection = draw(DYNAMIC, sampling, 9, "train", seed=seed)
        assert selection.inputs == (tuple(range(9)),) * 3
        assert selection.target_frames == (selection.time_frame,)
        names = ("0", "3", "5") if from_inputs else tuple(map(str, range(12)))
        assert sorted(set(selection.target_trajectories)) == sorted(names)
        assert len(selection.target_trajectories) == 12
        frames.add(selection.time_frame)
    assert frames == set(range(9))


def test_tests_take_every_frame() -> None:
    """Would catch a stride over the inputs, or targets of the first trajectory only."""
    selection = draw(
        STATIC,
        ExampleSamplingConfig(num_input_frames=9, target_stride=4, freeze_time=True),
        9,
        "test",
    )
    assert selection.inputs == (tuple(range(9)),) * 3
    assert selection.target_frames == (0, 4, 8)
    assert selection.target_trajectories == selection.trajectories
    one = draw(
        STATIC,
        ExampleSamplingConfig(num_input_frames=9, target_stride=4, target_frame=2),
        9,
        "test",
    )
    assert one.target_frames == (2, 2, 2)


def test_tests_of_dynamic_scenes_freeze_the_time() -> None:
    """Would catch cameras that stop with the time, and a time of the camera's frame."""
    sampling = ExampleSamplingConfig(
        num_input_frames=9, target_stride=4, target_frame=6, freeze_time=True
    )
    frozen = draw(DYNAMIC, sampling, 9, "test")
    assert frozen.target_frames == (0, 4, 8) and frozen.time_frame == 6
    single = draw(
        DYNAMIC,
        ExampleSamplingConfig(num_input_frames=9, target_stride=4, target_frame=6),
        9,
        "test",
    )
    assert single.target_frames == (6,) and single.time_frame == 6
    assert draw(DYNAMIC, ExampleSamplingConfig(num_input_frames=9), 9, "test").time_frame == 0


@pytest.mark.parametrize("spec", [STATIC, DYNAMIC])
@pytest.mark.parametrize("frame", [-1, 9])
def test_an_impossible_target_time_is_refused(spec: DatasetSpec, frame: int) -> None:
    """Would catch a time that is clamped, or counted from the end."""
    with pytest.raises(InputError, match="between 0 and 8"):
        draw(spec, ExampleSamplingConfig(num_input_frames=9, target_frame=frame), 12, "test")


def test_too_short_clips_are_refused_where_they_are_not_mirrored() -> None:
    """Would catch an item with fewer frames than the decoder expects."""
    with pytest.raises(InputError, match="5 frames.*at least 9"):
        draw(STATIC, ExampleSamplingConfig(num_input_frames=9, mirror=False), 5, "train")
    with pytest.raises(InputError, match="at least 9"):
        draw(STATIC, ExampleSamplingConfig(num_input_frames=9), 5, "test")


def test_trajectories_by_strategy() -> None:
    """Would catch a fixed list that is sorted, and dynamic scenes drawn from buckets."""
    generator = np.random.default_rng(0)

    def names(spec: DatasetSpec, count: int, **settings: object) -> tuple[str, ...]:
        sampling = ExampleSamplingConfig(**settings)
        number = draw_number(generator, sampling, len(SIX), "test")
        assert number == count
        return draw_trajectories(generator, spec, sampling, SIX, number)

    fixed = {"trajectory_sampling": "fixed", "fixed_trajectories": ["5", "0"]}
    assert names(STATIC, 2, **fixed, max_trajectories=6) == ("5", "0")
    assert len(set(names(STATIC, 4, max_trajectories=4))) == 4
    assert sorted(names(STATIC, 6, max_trajectories=9)) == list(SIX)
    bucket = {"trajectory_sampling": "random_bucket"}
    assert sorted(names(STATIC, 6, **bucket, max_trajectories=6)) == list(SIX)
    wrong = DatasetSpec(Path("clips"), True, buckets=(("0", "1"), ("2",)))
    with pytest.raises(InputError, match=r"clips.*buckets.*'2'.*'5'"):
        names(wrong, 2, **bucket, max_trajectories=2)
    dynamic = DatasetSpec(Path("clips"), False, buckets=(("0", "1"), ("2",)))
    assert len(set(names(dynamic, 2, **bucket, max_trajectories=2))) == 2


def test_their_number_varies_in_training_only() -> None:
    """Would catch a largest number that is never drawn."""
    generator, sampling = np.random.default_rng(0), ExampleSamplingConfig(max_trajectories=4)
    drawn = [draw_number(generator, sampling, 6, "train") for _ in range(200)]
    assert set(drawn) == {1, 2, 3, 4}
    assert {draw_number(generator, sampling, 6, "test") for _ in range(20)} == {4}
    assert max(draw_number(generator, sampling, 2, "train") for _ in range(50)) == 2
    steady = ExampleSamplingConfig(max_trajectories=4, vary_trajectories=False)
    assert {draw_number(generator, steady, 6, "train") for _ in range(20)} == {4}


@pytest.mark.parametrize(
    "settings",
    [
        {"num_input_frames": 1},
        {"num_targets": 0},
        {"max_trajectories": 0},
        {"target_stride": 0},
        {"trajectory_sampling": "fixed"},
        {"trajectory_sampling": "fixed", "fixed_trajectories": []},
    ],
)
def test_impossible_settings_are_refused(settings: dict) -> None:
    """Would catch a setting that fails later, inside a worker."""
    with pytest.raises(InputError, match=r"sampling\."):
        ExampleSamplingConfig(**settings)
