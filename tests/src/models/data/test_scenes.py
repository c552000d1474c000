"""Which scenes there are, and which of them are held out."""

import logging
from pathlib import Path

import pytest

from src.models.data.dataset import (
    find_scenes,
    input_trajectories,
    split_scenes,
    used_trajectories,
    with_sources,
)
from src.models.data.registry import DatasetSpec
from src.models.data.sampling import ExampleSamplingConfig
from src.runtime import InputError


def touch_clips(root: Path, **scenes: list[str]) -> None:
    """Empty videos: `a=["0", "1"]` is scene a in two trajectories."""
    for key, trajectories in scenes.items():
        for name in trajectories:
            path = root / name / "rgb" / f"{key}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def test_a_scene_is_listed_once(tmp_path: Path) -> None:
    """Would catch a scene for each trajectory folder."""
    touch_clips(tmp_path, b=["0", "1"], a=["0", "1"])
    assert find_scenes(DatasetSpec(tmp_path, True), ["0", "1"], False) == (["a", "b"], {})


def test_a_missing_clip_is_named_or_its_scene_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Would catch another scene in its place, and a scene that vanishes without a word."""
    touch_clips(tmp_path, a=["0", "1"], b=["0"], c=["1"])
    spec = DatasetSpec(tmp_path, True)
    with pytest.raises(InputError, match=r"0/rgb/c\.mp4"):
        find_scenes(spec, ["0", "1"], False)
    with caplog.at_level(logging.WARNING):
        keys, skipped = find_scenes(spec, ["0", "1"], True)
    assert keys == ["a"] and set(skipped) == {"b", "c"}
    assert "1/rgb/b.mp4" in skipped["b"] and "'b', 'c'" in caplog.text
    (tmp_path / "0/rgb/a.mp4").unlink()
    with pytest.raises(InputError, match="all incomplete"):
        find_scenes(spec, ["0", "1"], True)


def test_only_the_trajectories_that_are_used_must_be_there(tmp_path: Path) -> None:
    """Would catch a demo of two trajectories that asks for twelve folders."""
    touch_clips(tmp_path, a=["0", "1", "2"])
    static = DatasetSpec(tmp_path, True)
    dynamic = DatasetSpec(
        tmp_path, False, source_trajectories=("0", "1"), target_trajectories=("2", "3")
    )
    fixed = ExampleSamplingConfig(trajectory_sampling="fixed", fixed_trajectories=["2", "0"])
    random = ExampleSamplingConfig(targets_from_inputs=False)
    assert with_sources(static, random).source_trajectories == ("0", "1", "2")
    assert with_sources(dynamic, random) == dynamic
    assert input_trajectories(dynamic, fixed) == ("2", "0")
    assert used_trajectories(dynamic, fixed, "test") == ["2", "0"]
    assert used_trajectories(dynamic, random, "test") == ["0", "1"]
    with pytest.raises(InputError, match=r"no trajectory \['3'\].*'0', '1', '2'"):
        used_trajectories(dynamic, random, "train")
    touch_clips(tmp_path, a=["3"])
    assert used_trajectories(dynamic, random, "train") == ["0", "1", "2", "3"]
    unnamed = DatasetSpec(tmp_path, False, target_trajectories=("3",))
    assert with_sources(unnamed, random).source_trajectories == ("0", "1", "2")


def test_missing_folders_are_named(tmp_path: Path) -> None:
    """Would catch an empty data set in their place."""
    with pytest.raises(InputError, match="no such folder"):
        with_sources(DatasetSpec(tmp_path / "none", True), ExampleSamplingConfig())
    touch_clips(tmp_path, a=["0"])
    fixed = ExampleSamplingConfig(trajectory_sampling="fixed", fixed_trajectories=["0", "7"])
    with pytest.raises(InputError, match=r"'7'.*among \['0'\]"):
        used_trajectories(DatasetSpec(tmp_path, True), fixed, "test")


def test_the_parts_are_disjoint_and_complete() -> None:
    """Would catch a validation on training scenes, and a part that depends on the run."""
    keys = [f"scene{number:03}" for number in range(40)]
    train = split_scenes(keys, "train", 16)
    validation = split_scenes(keys, "validation", 16)
    assert len(validation) == 16 and not set(train) & set(validation)
    assert sorted(train + validation) == keys == split_scenes(keys, "all", 16)
    assert train == sorted(train) and validation == sorted(validation)
    assert split_scenes(keys, "validation", 16) == validation


def test_few_scenes_leave_some_for_training() -> None:
    """Would catch a small data set of which nothing is left to train on."""
    assert len(split_scenes(list("abcde"), "train", 16)) == 3
    assert split_scenes(["a"], "train", 16) == ["a"]
    assert split_scenes(["a", "b"], "train", 0) == ["a", "b"]


def test_held_out_scenes_stay_when_scenes_are_added() -> None:
    """Would catch training on what was held out before, after a data set has grown."""
    keys = [f"{number}" for number in range(200)]
    before = set(split_scenes(keys, "validation", 16))
    after = set(split_scenes([*keys, "new"], "validation", 16))
    assert len(before & after) >= 15
