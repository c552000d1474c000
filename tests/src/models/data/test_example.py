"""Examples on other devices and at other times."""

from dataclasses import replace

import pytest
import torch

from src.geometry.cameras import Cameras
from src.models.data.example import Example, Targets, unit_color
from src.runtime import InputError


def make_example(target_frame: int | None) -> Example:
    poses, intrinsics = torch.eye(4).expand(2, 5, 4, 4), torch.ones(2, 5, 4)
    frames = torch.tensor([0, 2, 4])
    targets = Targets(
        Cameras(poses[0, :3], intrinsics[0, :3], 8, 8), torch.zeros(3, dtype=torch.int64), frames
    )
    times = torch.linspace(0, 1, 5)
    time = None if target_frame is None else target_frame / 4
    cameras = Cameras(poses, intrinsics, 8, 8)
    latents = torch.zeros(2, 4, 1, 1, 1)
    return Example("a", ("0", "1"), cameras, latents, None, times, time, targets, target_frame)


def test_another_time_changes_nothing_but_the_time() -> None:
    """Would catch a time in frames, and an index that counts from the end."""
    example = make_example(0)
    later = example.at_time(3)
    assert (later.target_frame, later.target_time) == (3, 0.75)
    assert replace(later, target_frame=0, target_time=0.0) == example
    for frame in (-1, 5):
        with pytest.raises(InputError, match="between 0 and 4"):
            example.at_time(frame)


def test_only_pictures_of_the_target_time_are_comparable() -> None:
    """Would catch a metric between a frozen scene and one that moved on."""
    assert make_example(2).comparable().tolist() == [False, True, False]
    assert make_example(None).comparable().all()


def test_everything_moves_to_the_device() -> None:
    """Would catch a tensor that is left behind."""
    example = make_example(2)
    targets = replace(
        example.targets,
        color=torch.zeros(3, 3, 8, 8, dtype=torch.uint8),
        depth=torch.zeros(3, 8, 8),
    )
    moved = replace(example, targets=targets, video=torch.zeros(2, 3, 5, 8, 8)).to("meta")
    tensors = [moved.cameras.c2w, moved.cameras.intrinsics, moved.latents, moved.video]
    tensors += [moved.source_times, moved.targets.cameras.c2w, moved.targets.trajectory]
    tensors += [moved.targets.frame, moved.targets.color, moved.targets.depth]
    assert all(tensor is not None and tensor.device.type == "meta" for tensor in tensors)
    assert example.to("cpu").video is None


def test_unit_colors_of_both_types() -> None:
    """Would catch floats that are divided twice."""
    color = torch.tensor([0, 51, 255], dtype=torch.uint8)[:, None, None]
    expected = torch.tensor([0, 0.2, 1])[:, None, None]
    torch.testing.assert_close(unit_color(color), expected)
    torch.testing.assert_close(unit_color(expected), expected)
