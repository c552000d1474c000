"""Depth of videos: one scale for all frames, one camera, any source."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import torch
from corpus import generated
from torch import Tensor

from src.depth.backends.choice import in_scene_unit
from src.depth.backends.nano import NanoDepth, NanoDepthConfig, save_nano_depth
from src.depth.backends.video import (
    FileVideo,
    FrameByFrame,
    VideoFrames,
    resolve_video_depth,
    scale_ratio,
)
from src.depth.estimate import DepthEstimate
from src.geometry.fit import WHOLE, Region
from src.runtime import InputError

FRAMES = torch.rand(5, 3, 12, 20)
TRUTH = torch.rand(12, 20) + 1


class Drifting:
    """A backend whose scale and lens change from call to call, and that sees something move."""

    name, scene_scale = "drifting", False

    def __init__(self) -> None:
        self._scales: Iterator[float] = iter([2.0, 3.0, 0.5, 7.0, 1.0])
        self.calls = 0

    def __call__(self, image: Tensor, region: Region = WHOLE) -> DepthEstimate:
        depth = TRUTH * next(self._scales)
        depth[3:6, 4 * self.calls : 4 * self.calls + 4] *= 0.3
        mask = torch.ones(12, 20, dtype=torch.bool)
        mask[0] = False
        self.calls += 1
        return DepthEstimate(depth, mask, torch.tensor([9.0 + self.calls, 10, 10, 6]))


def test_frames_are_brought_to_the_scale_of_the_first() -> None:
    """Catches depth that breathes, and a moving object that pulls the scale."""
    backend = FrameByFrame(Drifting())
    video = backend(VideoFrames(FRAMES))
    still = torch.ones(12, 20, dtype=torch.bool)
    still[3:6] = False
    for frame in video.depth:
        torch.testing.assert_close(frame[still], 2 * TRUTH[still])
    assert video.intrinsics.tolist() == [12, 10, 10, 6]
    assert backend.name == "drifting" and not video.mask[:, 0].any()


def test_the_first_frame_gives_the_scale_of_the_scene() -> None:
    """Catches a median over other frames, or none."""
    video, divisor = in_scene_unit(FrameByFrame(Drifting())(VideoFrames(FRAMES)), Drifting())
    assert divisor == pytest.approx(video.depth[0][video.mask[0]].median().item() * divisor)
    assert video.depth[0][video.mask[0]].median() == pytest.approx(1)
    assert 1.9 < divisor < 4.1


def test_a_frame_without_overlap_keeps_its_scale() -> None:
    """Catches a division by the median of nothing."""
    lens = torch.tensor([1.0, 1, 0, 0])
    mask = torch.zeros(2, 2, dtype=torch.bool)
    empty = DepthEstimate(torch.full((2, 2), 5.0), mask, lens)
    assert scale_ratio(empty, DepthEstimate(torch.ones(2, 2), ~mask, lens)) == 1.0


def test_a_file_gives_the_frames_that_are_asked_for(tmp_path: Path) -> None:
    """Catches maps in another order, and a file that is shorter than its video."""
    depth = np.arange(1, 5, dtype=np.float32)[:, None, None] * np.ones((1, 6, 10), dtype=np.float32)
    np.savez(tmp_path / "d.npz", depth=depth)
    backend = resolve_video_depth(str(tmp_path / "d.npz"))
    assert isinstance(backend, FileVideo) and backend.name == "d.npz"
    video = backend(VideoFrames(FRAMES, indices=[1, 2, 3, 3, 3]))
    assert video.depth.mean(dim=(1, 2)).tolist() == pytest.approx([2, 3, 4, 4, 4])
    assert backend(VideoFrames(FRAMES[:2])).depth[:, 0, 0].tolist() == [1, 2]
    with pytest.raises(InputError, match="no frame 4"):
        backend(VideoFrames(FRAMES))


def test_backends_for_pictures_run_frame_by_frame(tmp_path: Path) -> None:
    """Catches a name of a picture backend that videos don't know."""
    config = NanoDepthConfig(widths=(4, 4, 4, 4), blocks=(1, 1, 1, 1), heads=2, height=32, width=48)
    save_nano_depth(NanoDepth(config), tmp_path / "depth")
    backend = resolve_video_depth("nano", tmp_path)
    assert backend.name == "nano" and backend(VideoFrames(FRAMES)).depth.shape == (5, 12, 20)
    with pytest.raises(InputError, match="depth backend"):
        resolve_video_depth("video")


def test_video_depth_anything_is_used_where_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Catches frames in the wrong layout, and `auto` that passes over what is installed."""
    seen = SimpleNamespace()

    class Estimator(torch.nn.Module):
        def __init__(self, **sizes: object) -> None:
            super().__init__()
            seen.sizes = sizes
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def infer_video_depth(
            self, frames: np.ndarray, target_fps: int, **options: object
        ) -> tuple[np.ndarray, int]:
            seen.frames = frames
            return np.full((len(frames), 6, 10), 3.0, dtype=np.float32), target_fps

    with pytest.raises(InputError, match="README"):
        resolve_video_depth("video_depth_anything", tmp_path)
    for name in ("video_depth_anything", "video_depth_anything.video_depth"):
        module = ModuleType(name)
        module.__spec__ = SimpleNamespace(name=name)  # pyright: ignore[reportAttributeAccessIssue]
        monkeypatch.setitem(sys.modules, name, module)
    module = sys.modules["video_depth_anything.video_depth"]
    monkeypatch.setattr(module, "VideoDepthAnything", Estimator, raising=False)
    with pytest.raises(InputError, match="metric_video_depth_anything_vits.pth"):
        resolve_video_depth("video_depth_anything", tmp_path)
    path = tmp_path / "video_depth_anything" / "metric_video_depth_anything_vits.pth"
    path.parent.mkdir()
    torch.save({"weight": torch.ones(1)}, path)
    backend = resolve_video_depth("auto", tmp_path)
    video = backend(VideoFrames(FRAMES))
    assert backend.name == "video_depth_anything" and seen.sizes["encoder"] == "vits"
    assert seen.frames.shape == (5, 12, 20, 3) and seen.frames.dtype == np.uint8
    assert (video.depth == 3).all() and video.depth.shape == (5, 12, 20)
    for content in ({"weight": 1.0}, [torch.ones(1)], {"weight": Path("/")}):
        torch.save(content, path)
        with pytest.raises(InputError, match=r"vits\.pth"):
            resolve_video_depth("auto", tmp_path)
    for make in generated.TORCH_BOMBS.values():
        make(path)
        with pytest.raises(InputError, match=r"vits\.pth"):
            resolve_video_depth("auto", tmp_path)
    torch.save({"bias": torch.ones(1)}, path)
    with pytest.raises(InputError, match="weight"):
        resolve_video_depth("auto", tmp_path)
