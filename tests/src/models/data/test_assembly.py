"""Examples of tiny clips on disk: the right files, frames, cameras and times."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from src.geometry.cameras import Cameras
from src.io.clip import clip as clip_module
from src.models.data.dataset import ClipDataset, ExampleDraw
from src.models.data.example import unit_color
from src.models.data.registry import DatasetSpec
from src.models.data.sampling import ExampleSamplingConfig
from src.tokenizer.cosmos import LatentStatistics

Build = Callable[..., ClipDataset]
ColorOf = Callable[[str, int], tuple[int, int, int]]
FIXED = ["2", "0"]


def fixed(**settings: object) -> ExampleSamplingConfig:
    both = {"trajectory_sampling": "fixed", "fixed_trajectories": FIXED}
    return ExampleSamplingConfig(num_input_frames=9, **both | settings)


def looks_like(color: Tensor, expected: tuple[int, int, int]) -> bool:
    """Whether a picture has one colour, up to video compression."""
    return bool((255 * unit_color(color).mean((-2, -1)) - torch.tensor(expected)).abs().max() < 6)


def test_a_test_item_has_what_is_on_disk(
    static_set: Build, static_clips: Any, statistics: LatentStatistics, color_of: ColorOf
) -> None:
    """Would catch trajectories in another order, latents of another clip, or shifted frames."""
    example = static_set(fixed(target_stride=4), depth=True)[1]
    assert (example.key, example.trajectories) == ("10", ("2", "0"))
    assert example.latents is not None and example.video is None
    for place, name in enumerate(FIXED):
        raw = statistics.denormalise(static_clips.latents[name, "10"])
        torch.testing.assert_close(example.latents[place], raw)
    targets = example.targets
    assert targets.trajectory.tolist() == [0, 0, 0, 1, 1, 1] and targets.names == ()
    assert targets.frame.tolist() == [0, 4, 8] * 2
    assert targets.color is not None and targets.color.dtype == torch.uint8
    assert targets.depth is not None
    for color, depth, place, frame in zip(
        targets.color, targets.depth, targets.trajectory, targets.frame, strict=True
    ):
        assert looks_like(color, color_of(FIXED[int(place)], int(frame)))
        assert (depth[:, :16] == 0).all() and (depth[:, 16:] == 1 + frame).all()
    assert example.target_time is None and example.target_frame is None
    torch.testing.assert_close(example.source_times, torch.linspace(0, 1, 9))


def test_cameras_are_relative_to_the_first_input_frame(
    static_set: Build, static_clips: Any
) -> None:
    """Would catch a reference for each trajectory, and targets in another frame than inputs."""
    example = static_set(fixed(target_stride=4))[1]
    cameras: dict[str, Cameras] = {name: static_clips.cameras[name, "10"] for name in FIXED}
    reference = torch.linalg.inv(cameras["2"].c2w[0].double())
    for place, name in enumerate(FIXED):
        expected = (reference @ cameras[name].c2w.double()).float()
        torch.testing.assert_close(example.cameras.c2w[place], expected, rtol=0, atol=2e-6)
        torch.testing.assert_close(example.cameras.intrinsics[place], cameras[name].intrinsics)
        seen = example.targets.cameras[3 * place : 3 * place + 3]
        torch.testing.assert_close(seen.c2w, expected[[0, 4, 8]], rtol=0, atol=2e-6)
        torch.testing.assert_close(seen.intrinsics, cameras[name].intrinsics[[0, 4, 8]])
    assert (example.cameras.height, example.cameras.width) == (16, 32)


def test_scene_scale_multiplies_translations_alone(static_set: Build) -> None:
    """Would catch rotations that are scaled, or a scale before the change of reference."""
    one, three = (static_set(fixed(), scale=scale)[0] for scale in (1.0, 3.0))
    for ours, theirs in (
        (three.cameras, one.cameras),
        (three.targets.cameras, one.targets.cameras),
    ):
        torch.testing.assert_close(ours.c2w[..., :3, 3], 3 * theirs.c2w[..., :3, 3])
        assert torch.equal(ours.c2w[..., :3, :3], theirs.c2w[..., :3, :3])
        assert torch.equal(ours.c2w[..., 3, :], theirs.c2w[..., 3, :])


def test_pictures_as_inputs(static_set: Build, color_of: ColorOf) -> None:
    """Would catch inputs in [0, 1], frames of the targets in the place of inputs."""
    sampling = ExampleSamplingConfig(num_input_frames=5, num_targets=3)
    example = static_set(sampling, "train", (8, 16), latents=False)[0]
    assert example.latents is None and example.video is not None
    assert example.video.shape == (1, 3, 5, 8, 16)
    assert example.targets.color is not None
    assert example.targets.color.dtype == torch.float32 and example.targets.color.shape[0] == 3
    assert -1 <= example.video.min() < 0
    # The colours tell the frames: they increase, with the first and the last at 0 and 1.
    frames = [round(((c + 1) * 127.5 - 40).item() / 20) for c in example.video[0, 0, :, 4, 8]]
    assert frames == sorted(set(frames))
    times = [(frame - frames[0]) / (frames[-1] - frames[0]) for frame in frames]
    torch.testing.assert_close(example.source_times, torch.tensor(times))
    (name,) = example.trajectories
    for color, frame in zip(example.targets.color, example.targets.frame, strict=True):
        assert looks_like(color, color_of(name, int(frame)))
        assert frames[0] <= frame <= frames[-1]


def test_only_needed_frames_are_decoded(static_set: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would catch whole videos decoded for a few targets, or one decoded twice."""
    asked: list[tuple[str, list[int]]] = []
    read = clip_module.read_video

    def spy(path: Path, indices: list[int]) -> Tensor:
        asked.append((path.parts[-3], list(indices)))
        return read(path, indices)

    dataset = static_set(fixed(target_stride=4))
    monkeypatch.setattr(clip_module, "read_video", spy)
    dataset[0]
    assert asked == [("2", [0, 4, 8]), ("0", [0, 4, 8])]
    asked.clear()
    assert static_set(fixed(), color=False)[0].targets.color is None
    assert not asked
    sampling = ExampleSamplingConfig(num_input_frames=5, num_targets=3)
    static_set(sampling, "train", latents=False)[0]
    assert len(asked) == 1 and asked[0][1] == sorted(set(asked[0][1]))


def test_a_repeated_frame_is_repeated(static_set: Build) -> None:
    """Would catch targets that are lost where all of them are one frame."""
    targets = static_set(fixed(target_stride=4, target_frame=2), depth=True)[0].targets
    assert targets.frame.tolist() == [2] * 6 and targets.depth is not None
    assert targets.color is not None and torch.equal(targets.color[0], targets.color[2])
    assert not torch.equal(targets.color[0], targets.color[3])


def test_dynamic_scenes(dynamic_set: Build, dynamic_clips: Any, color_of: ColorOf) -> None:
    """Would catch targets at several times, or reversed trajectories mixed up with inputs."""
    sampling = ExampleSamplingConfig(
        num_input_frames=9, num_targets=12, max_trajectories=3, targets_from_inputs=False
    )
    example = dynamic_set(sampling, "train")[ExampleDraw(0, epoch=3)]
    targets = example.targets
    assert set(example.trajectories) <= set(map(str, range(6)))
    assert sorted(targets.names, key=int) == list(map(str, range(12)))
    assert targets.frame.unique().tolist() == [example.target_frame]
    assert example.target_frame is not None
    assert example.target_time == pytest.approx(example.target_frame / 8)
    assert example.comparable().all() and targets.color is not None
    reference = dynamic_clips.cameras[example.trajectories[0], "clip"].c2w[0]
    for index, place in enumerate(targets.trajectory):
        name = targets.names[int(place)]
        assert looks_like(targets.color[index], color_of(name, example.target_frame))
        there = dynamic_clips.cameras[name, "clip"].relative_to(reference).c2w
        torch.testing.assert_close(targets.cameras.c2w[index], there[example.target_frame])


def test_a_dynamic_test_freezes_the_time(dynamic_set: Build) -> None:
    """Would catch a time that follows the cameras."""
    sampling = fixed(target_stride=4, target_frame=6, freeze_time=True)
    example = dynamic_set(sampling)[0]
    assert example.target_time == 0.75 and example.targets.frame.tolist() == [0, 4, 8] * 2
    assert not example.comparable().any()
    assert example.at_time(4).comparable().tolist() == [False, True, False] * 2


def test_raw_latents_are_taken_as_they_are(static_clips: Any) -> None:
    """Would catch statistics that are applied to raw latents."""
    spec = replace(DatasetSpec(static_clips.root, True), latents_normalised=False)
    example = ClipDataset(spec, fixed(), (16, 32))[0]
    assert example.latents is not None
    assert torch.equal(example.latents[0], static_clips.latents["2", "2"])
