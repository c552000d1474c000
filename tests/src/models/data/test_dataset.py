"""Which scenes a data set has, what its items depend on, and what it refuses."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from src.models.data.dataset import ClipDataset, ExampleDraw
from src.models.data.example import Example
from src.models.data.reading import ReadingConfig
from src.models.data.registry import DatasetSpec
from src.models.data.sampling import ExampleSamplingConfig, Mode
from src.runtime import InputError
from src.tokenizer.cosmos import LatentStatistics

Build = Callable[..., ClipDataset]
SIZE = (16, 32)
FIXED = ["2", "0"]


def fixed(**settings: object) -> ExampleSamplingConfig:
    both = {"trajectory_sampling": "fixed", "fixed_trajectories": FIXED}
    return ExampleSamplingConfig(num_input_frames=9, **both | settings)


def equal(ours: Example, theirs: Example) -> bool:
    """Whether two examples are the same to the last bit."""
    tensors = [
        (part.cameras.c2w, part.latents, part.video, part.source_times, part.targets.frame,
         part.targets.color, part.targets.cameras.c2w)
        for part in (ours, theirs)
    ]  # fmt: skip
    same = all(
        (a is None and b is None) or (a is not None and b is not None and torch.equal(a, b))
        for a, b in zip(*tensors, strict=True)
    )
    return same and (ours.key, ours.trajectories) == (theirs.key, theirs.trajectories)


def test_scenes_are_listed_once_in_name_order(static_set: Build) -> None:
    """Would catch an item for each trajectory, and scene 10 before scene 2."""
    dataset = static_set(fixed())
    assert dataset.keys == ["2", "10"] and len(dataset) == 2
    assert [example.key for example in dataset] == ["2", "10"]
    assert dataset[-1].key == "10"
    with pytest.raises(IndexError):
        dataset[2]


def test_items_depend_on_seed_epoch_scene_and_step_alone(static_set: Build) -> None:
    """Would catch a global random state, an epoch that repeats the last, or workers that do."""
    sampling = ExampleSamplingConfig(
        num_input_frames=5, num_targets=3, max_trajectories=3, trajectory_sampling="random_bucket"
    )
    build = lambda seed=42: static_set(sampling, "train", latents=False, seed=seed)  # noqa: E731
    dataset = build()
    first = dataset[ExampleDraw(1, epoch=2, step=7)]
    torch.rand(3)
    dataset[0]
    assert equal(dataset[ExampleDraw(1, epoch=2, step=7)], first)
    assert equal(build()[ExampleDraw(1, epoch=2, step=7)], first)
    others = [dataset[ExampleDraw(1, epoch=3, step=7)], build(43)[ExampleDraw(1, epoch=2, step=7)]]
    assert not any(equal(other, first) for other in others)


def test_one_step_has_one_number_of_trajectories(static_set: Build) -> None:
    """Would catch batches that cannot be stacked, and a number that never changes."""
    sampling = ExampleSamplingConfig(num_input_frames=9, num_targets=2, max_trajectories=3)
    dataset = static_set(sampling, "train", color=False)
    numbers = []
    for step in range(12):
        drawn = {
            len(dataset[ExampleDraw(i, epoch, step)].trajectories)
            for i in (0, 1)
            for epoch in (0, 1)
        }
        assert len(drawn) == 1
        numbers += drawn
    assert set(numbers) == {1, 2, 3}


def test_tests_take_the_first_scenes_and_splits_are_disjoint(
    static_clips: Any, statistics: LatentStatistics
) -> None:
    """Would catch a validation on training scenes."""
    spec, few = DatasetSpec(static_clips.root, True), ReadingConfig(num_test_scenes=1)

    def keys(mode: Mode, split: str) -> list[str]:
        return ClipDataset(spec, fixed(), SIZE, mode, split, statistics, few).keys

    assert keys("test", "all") == ["2"] and keys("train", "all") == ["2", "10"]
    assert sorted(keys("train", "train") + keys("test", "validation")) == ["10", "2"]
    with pytest.raises(InputError, match="0 scenes for 'validation'"):
        none = ReadingConfig(num_test_scenes=0)
        ClipDataset(spec, fixed(), SIZE, "test", "validation", statistics, none)


@pytest.mark.parametrize(
    ("sampling", "size", "message"),
    [
        (fixed(), (16, 24), r"latents \[4, 2, 2, 4\].*\[4, 2, 2, 3\] for 9 frames of 16x24"),
        (ExampleSamplingConfig(num_input_frames=17), SIZE, "at least 17"),
        (ExampleSamplingConfig(num_input_frames=5), SIZE, "9 frames, expected 5"),
        (ExampleSamplingConfig(num_input_frames=9, target_frame=9), SIZE, "between 0 and 8"),
        (fixed(fixed_trajectories=["0", "9"]), SIZE, r"'9'.*among \['0', '1', '2'\]"),
    ],
)
def test_what_does_not_fit_is_refused_early(
    static_set: Build, sampling: ExampleSamplingConfig, size: tuple[int, int], message: str
) -> None:
    """Would catch an error after minutes of loading models."""
    with pytest.raises(InputError, match=message):
        static_set(sampling, size=size)


def test_a_folder_without_scenes_is_refused(tmp_path: Path, statistics: LatentStatistics) -> None:
    """Would catch an empty run that ends well."""
    (tmp_path / "0").mkdir()
    for root in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match=str(root)):
            ClipDataset(
                DatasetSpec(root, True),
                ExampleSamplingConfig(num_input_frames=9),
                SIZE,
                statistics=statistics,
            )


def test_clips_in_the_root_itself(
    tmp_path: Path, static_clips: Any, statistics: LatentStatistics
) -> None:
    """Would catch a search for trajectory folders where there are none."""
    shutil.copytree(static_clips.root / "1", tmp_path / "clips")
    sampling = ExampleSamplingConfig(
        num_input_frames=9, max_trajectories=6, trajectory_sampling="empty"
    )
    spec = DatasetSpec(tmp_path / "clips", True)
    example = ClipDataset(spec, sampling, SIZE, statistics=statistics)[0]
    assert example.trajectories == ("",) and len(example.targets) == 9
