"""Pictures and videos on their way to the cache: size, camera, bars, missing frames."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from src.depth.backends.choice import FileDepth
from src.depth.backends.video import FileVideo
from src.depth.sources import still_source, video_source
from src.geometry.fit import FitMode
from src.io.video.video import write_video
from src.runtime import InputError

TARGET = (24, 40)


def picture(height: int, width: int) -> Tensor:
    x = torch.linspace(0, 255, width).expand(height, width)
    y = torch.linspace(0, 255, height)[:, None].expand(height, width)
    return torch.stack([x, y, 255 - x], dim=-1).round().to(torch.uint8)


def depth_file(folder: Path, *shape: int) -> Path:
    """Depth 2 left of the middle and 6 right of it."""
    depth = np.full(shape, 2.0, dtype=np.float32)
    depth[..., shape[-1] // 2 :] = 6
    np.savez(folder / "d.npz", depth=depth)
    return folder / "d.npz"


@pytest.mark.parametrize("mode", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(60, 100), (100, 60), (50, 50), (20, 32), (48, 900)])
def test_every_picture_reaches_the_target_size(
    tmp_path: Path, size: tuple[int, int], mode: FitMode
) -> None:
    """Catches a shape that needs a case of its own."""
    backend = FileDepth(depth_file(tmp_path, 30, 50))
    source = still_source(picture(*size), backend, TARGET, mode)
    estimate = source.prepared.estimate
    assert source.prepared.image.shape == (3, *TARGET)
    assert estimate.depth.shape == estimate.mask.shape == TARGET
    assert source.prepared.image.isfinite().all() and estimate.depth.isfinite().all()
    assert source.picture.shape[:2] == (size if mode == "stretch" else TARGET)
    assert torch.equal(source.prepared.w2c, torch.eye(4))
    assert 2 <= source.divisor <= 6
    known = estimate.depth[estimate.mask] * source.divisor
    assert known.amin() >= 2 - 1e-4 and known.amax() <= 6 + 1e-4


@pytest.mark.parametrize("mode", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("size", [(60, 100), (100, 60), (48, 200)])
def test_picture_and_depth_stay_aligned(
    tmp_path: Path, size: tuple[int, int], mode: FitMode
) -> None:
    """Catches depth that is cut elsewhere than the picture: both change at the same column."""
    image = torch.zeros(*size, 3, dtype=torch.uint8)
    image[:, int(0.45 * size[1]) :] = 255
    depth = np.full((20, 100), 2.0, dtype=np.float32)
    depth[:, 45:] = 6
    np.savez(tmp_path / "d.npz", depth=depth)
    source = still_source(image, FileDepth(tmp_path / "d.npz"), TARGET, mode)
    row = source.prepared.estimate.mask[12]
    white = source.prepared.image[0, 12][row] > 0
    far = source.prepared.estimate.depth[12][row] * source.divisor > 4
    assert white.any() and not white.all()
    assert abs(int(white.sum()) - int(far.sum())) <= 1


def test_bars_are_black_and_without_depth(tmp_path: Path) -> None:
    """Catches bars that become a far wall, and a camera that ignores them."""
    backend = FileDepth(depth_file(tmp_path, 30, 30))
    source = still_source(picture(60, 60), backend, TARGET, "pad")
    image, estimate = source.prepared.image, source.prepared.estimate
    for bar in (slice(0, 8), slice(32, 40)):
        assert (image[:, :, bar] == -1).all() and (source.picture[:, bar] == 0).all()
        assert (estimate.depth[:, bar] == 0).all() and not estimate.mask[:, bar].any()
    assert estimate.mask[:, 8:32].all()
    focal = 24 * 3**0.5 / 2
    assert estimate.intrinsics.tolist() == pytest.approx([focal, focal, 20, 12])


def test_stretching_is_the_published_way(tmp_path: Path) -> None:
    """Catches another depth size than 720 rows for 704, and a first frame that lost detail."""
    seen = []

    class Backend(FileDepth):
        def __call__(self, image: Tensor, region: tuple = (0.0, 0.0, 1.0, 1.0)):  # noqa: ANN204
            seen.append(tuple(image.shape))
            return super().__call__(image, region)

    backend = Backend(depth_file(tmp_path, 30, 50))
    image = picture(48, 64)
    source = still_source(image, backend, (176, 320), "stretch")
    assert seen == [(3, 180, 320)] and source.picture is image
    fx, fy, cx, cy = source.prepared.estimate.intrinsics.tolist()
    assert fy / fx == pytest.approx(176 / 180) and (cx, cy) == (160, 88)


def test_the_three_ways_agree_on_a_picture_of_the_right_shape(tmp_path: Path) -> None:
    """Catches a way that shifts or scales what it should leave alone."""
    backend = FileDepth(depth_file(tmp_path, 24, 40))
    image = picture(24, 40)
    crop, pad = (still_source(image, backend, TARGET, mode) for mode in ("crop", "pad"))
    assert torch.equal(crop.picture, image) and torch.equal(pad.picture, image)
    assert torch.equal(crop.prepared.image, pad.prepared.image)
    torch.testing.assert_close(crop.prepared.image[0, 0], 2 * image[0, :, 0].float() / 255 - 1)
    assert torch.equal(crop.prepared.estimate.depth, pad.prepared.estimate.depth)


def test_videos_repeat_their_last_frame(tmp_path: Path) -> None:
    """Catches frames in another order, depth of other frames, and a lost frame rate."""
    frames = torch.stack([torch.full((48, 80, 3), 20 * i, dtype=torch.uint8) for i in range(6)])
    write_video(tmp_path / "v.mp4", frames, fps=30)
    depth = np.arange(1, 7, dtype=np.float32)[:, None, None] * np.ones((1, 24, 40), np.float32)
    np.savez(tmp_path / "d.npz", depth=depth)
    backend = FileVideo(tmp_path / "d.npz")
    video, divisor = video_source(tmp_path / "v.mp4", backend, TARGET, frames=range(3, 9))
    assert len(video) == 6 and video.fps == 30 and divisor == 4
    grey = (video.image.mean(dim=(1, 2, 3)) + 1) * 127.5
    assert grey.tolist() == pytest.approx([60, 80, 100, 100, 100, 100], abs=3)
    assert (video.depth[:, 0, 0, 0] * divisor).tolist() == pytest.approx([4, 5, 6, 6, 6, 6])
    assert video.K.shape == (6, 3, 3) and torch.equal(video.w2c, torch.eye(4).repeat(6, 1, 1))
    beyond, _ = video_source(tmp_path / "v.mp4", backend, TARGET, frames=range(50, 52))
    assert beyond.image.shape == (2, 3, *TARGET)


@pytest.mark.parametrize("frames", [range(0), range(-1, 3), range(0, 8, 2)])
def test_impossible_frames_are_refused(tmp_path: Path, frames: range) -> None:
    """Catches an empty video, or one that starts before it begins."""
    with pytest.raises(InputError, match="consecutive frames"):
        video_source(tmp_path / "v.mp4", FileVideo(tmp_path / "d.npz"), TARGET, frames=frames)
