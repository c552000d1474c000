"""The clips of one scene, and what is wrong with them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from src.io.clip import clip as clip_module
from src.models.data.dataset import ClipDataset
from src.models.data.reading import SceneReader
from src.models.data.sampling import ExampleSamplingConfig
from src.runtime import InputError
from src.tokenizer.cosmos import LatentStatistics

SIZE = (16, 32)


def test_depth_that_is_asked_for_must_be_there(dynamic_set: Callable[..., ClipDataset]) -> None:
    """Would catch a depth loss that is silently zero."""
    dataset = dynamic_set(ExampleSamplingConfig(num_input_frames=9), depth=True)
    with pytest.raises(InputError, match=r"depth/clip\.zip"):
        dataset[0]


def test_clips_of_a_scene_must_be_equally_long(
    tmp_path: Path, write: Callable[..., object]
) -> None:
    """Would catch targets beyond the end of a shorter clip."""
    write(tmp_path, "a", ["1"])
    write(tmp_path, "a", ["0"], frames=12)
    reader = SceneReader(tmp_path, "a", SIZE)
    assert reader.clip("1") is reader.clip("1")
    with pytest.raises(InputError, match=r"0/rgb/a\.mp4.*12 frames.*9 frames"):
        reader.clip("0")


def test_an_opened_clip_is_kept_until_its_files_change(
    tmp_path: Path, write: Callable[..., object]
) -> None:
    """Would catch cameras read again in every epoch, or those of a clip that was replaced."""
    write(tmp_path, "a", ["0"])
    first = SceneReader(tmp_path, "a", SIZE).clip("0")
    assert SceneReader(tmp_path, "a", SIZE).clip("0") is first
    write(tmp_path, "a", ["0"], frames=12)
    assert SceneReader(tmp_path, "a", SIZE).clip("0").num_frames == 12
    first.paths.pose.unlink()
    with pytest.raises(InputError, match=r"0/pose/a\.npz"):
        SceneReader(tmp_path, "a", SIZE).clip("0")


def test_latents_must_belong_to_the_pictures(
    static_clips: Any, statistics: LatentStatistics
) -> None:
    """Would catch latents of a part of the clip, of other pictures, or with other channels."""
    reader = SceneReader(static_clips.root, "2", SIZE)
    assert reader.latents("0", 9, statistics).shape == (4, 2, 2, 4)
    with pytest.raises(InputError, match=r"0/rgb/2\.mp4.*9 frames.*17: latents"):
        reader.latents("0", 17, statistics)
    with pytest.raises(InputError, match=r"0/latent/2\.pkl.*\[4, 2, 4, 4\]"):
        SceneReader(static_clips.root, "2", (32, 32)).latents("0", 9, statistics)
    more = LatentStatistics(torch.zeros(16, 2), torch.ones(16, 2))
    with pytest.raises(InputError, match=r"\[16, 2, 2, 4\] for 9 frames of 16x32 pixels"):
        reader.latents("0", 9, more)


def test_turned_videos_are_refused(static_clips: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Would catch cameras for the stored picture beside one that a tag turned."""
    read = clip_module.read_video
    monkeypatch.setattr(clip_module, "read_video", lambda *args: read(*args).transpose(1, 2))
    with pytest.raises(InputError, match="32x16.*16x32 pixels, not turned"):
        SceneReader(static_clips.root, "2", SIZE).color("0", [0])


def test_pictures_cameras_and_depth_are_fitted(static_clips: Any) -> None:
    """Would catch one of the three at the size on disk."""
    reader = SceneReader(static_clips.root, "2", (8, 12))
    cameras = reader.cameras("1", [3, 3, 1])
    assert (cameras.height, cameras.width, len(cameras)) == (8, 12, 3)
    assert reader.color("1", [3, 3, 1]).shape == (3, 3, 8, 12)
    depth = reader.depth("1", [3, 3, 1])
    assert depth.shape == (3, 8, 12) and depth.flatten(1).amax(1).tolist() == [4, 4, 2]
