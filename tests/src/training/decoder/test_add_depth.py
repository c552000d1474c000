"""Depth archives beside clips."""

from pathlib import Path

import pytest
import torch
from tiny_scene import FRAMES, HEIGHT, WIDTH, write_tiny_input

from src.depth.backends.video import VideoFrames
from src.depth.estimate import DepthEstimate
from src.io.clip.clip import ClipPaths, open_clip
from src.runtime import InputError
from src.training.decoder.data import add_depth


class Brightness:
    """Depth that is the brightness of a picture; dark pixels are unknown."""

    name, scene_scale = "brightness", True

    def __call__(self, frames: VideoFrames) -> DepthEstimate:
        depth = frames.pictures.mean(dim=1)
        return DepthEstimate(depth, depth > self.darkest, torch.tensor([40.0, 40.0, 24.0, 16.0]))

    def __init__(self, darkest: float = 0.3) -> None:
        self.darkest = darkest


def test_missing_depth_is_written_and_what_is_there_stays(tmp_path: Path) -> None:
    """Depth of another frame or clip, unknown depth that looks known, replaced archives."""
    root = write_tiny_input(tmp_path, scenes=2).root
    paths = ClipPaths(root, "1", "scene_1")
    before = ClipPaths(root, "0", "scene_0").depth.read_bytes()
    paths.depth.unlink()
    assert add_depth(root, Brightness()) == (1, 5)
    assert ClipPaths(root, "0", "scene_0").depth.read_bytes() == before
    clip = open_clip(paths)
    expected = clip.frames().float().mean(dim=-1) / 255
    expected[expected <= 0.3] = 0
    assert clip.depth().shape == (FRAMES, HEIGHT, WIDTH)
    torch.testing.assert_close(clip.depth(), expected, rtol=1e-3, atol=1e-3)
    assert add_depth(root, Brightness()) == (0, 6)
    assert add_depth(root, Brightness(), overwrite=True) == (6, 0)


def test_depth_that_is_nowhere_known_is_an_error(tmp_path: Path) -> None:
    """Archives of zeros, which silently switch the depth loss off."""
    root = write_tiny_input(tmp_path, scenes=1).root
    with pytest.raises(InputError, match="scene_0.mp4"):
        add_depth(root, Brightness(2.0), overwrite=True)
    with pytest.raises(InputError, match="no such folder"):
        add_depth(tmp_path / "nowhere", Brightness())
