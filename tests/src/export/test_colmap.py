"""Tests of the COLMAP export: its cameras see its points where the pictures show them."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from src.evaluation.metrics import psnr
from src.export.editing import EditConfig, edit_scene
from src.export.formats import export_scene
from src.geometry.cameras import Cameras
from src.io.cameras.file import read_camera_file
from src.rendering.rasterize import rasterize
from src.runtime import InputError
from tests.src.export.scene_readers import read_colmap
from tests.src.export.scenes import faint, read_back, results, scene_of, spread, three_cameras


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Results of sample.py: renderings of three cameras."""
    gaussians, cameras = faint(), three_cameras()
    color = rasterize(gaussians, cameras).color.clamp(0, 1)
    frames = (255 * color).round().to(torch.uint8).permute(0, 2, 3, 1)
    return results(tmp_path / "out", gaussians, cameras, frames=frames)


def test_the_cameras_see_the_scene_as_the_pictures_do(tree: Path, tmp_path: Path) -> None:
    """Poses from camera to world, a lens in another order, pictures of another camera."""
    export_scene(read_back(tree), tmp_path / "model", "colmap")
    model = read_colmap(tmp_path / "model/sparse/0")
    assert model.names == ["0_0000.png", "0_0001.png", "1_0000.png"]
    lenses = np.stack([model.lenses[number] for number in model.cameras])
    assert (lenses[:, 4:] == [48, 36]).all()
    c2w, intrinsics = torch.from_numpy(np.linalg.inv(model.w2c)), torch.from_numpy(lenses[:, :4])
    found = rasterize(faint(), Cameras(c2w.float(), intrinsics.float(), 48, 36)).color
    pictures = [Image.open(tmp_path / "model/images" / name) for name in model.names]
    shown = torch.from_numpy(np.stack([np.asarray(picture) for picture in pictures]))
    shown = shown.permute(0, 3, 1, 2) / 255
    fits = psnr(found, shown)
    # H.264 costs some; another camera sees another picture.
    assert fits.min() > 28 and (fits > psnr(found.roll(1, 0), shown) + 3).all()
    true = read_camera_file(tree / "scenes/0/cameras.json").cameras
    assert torch.allclose(c2w.float(), true.c2w, atol=1e-6)
    assert torch.equal(intrinsics.float(), true.intrinsics)
    # The project reads its own export, too.
    again = read_camera_file(tmp_path / "model/sparse/0").cameras
    assert torch.allclose(again.c2w, true.c2w, atol=1e-6)


def test_the_points_are_the_gaussians_that_stay(tree: Path, tmp_path: Path) -> None:
    """Points of Gaussians that the options dropped, or with colours of others."""
    edit = EditConfig(min_opacity=0.02, max_gaussians=500)
    export_scene(read_back(tree), tmp_path / "model", "colmap", edit)
    points = read_colmap(tmp_path / "model/sparse/0").points
    (kept,) = edit_scene(read_back(tree), edit).moments
    assert len(points) == len(kept) == 500
    assert np.array_equal(points[:, :3], kept.means.double().numpy())
    assert np.abs(points[:, 3:] - kept.colors.numpy()).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("edit", "message"),
    [(EditConfig(up="z"), "up: got z for colmap"), (EditConfig(median_depth=2.0), "another unit")],
)
def test_colmap_keeps_the_axes_and_the_unit_of_its_cameras(
    edit: EditConfig, message: str, tree: Path, tmp_path: Path
) -> None:
    """Points that lie elsewhere than the cameras see them."""
    with pytest.raises(InputError, match=message):
        export_scene(read_back(tree), tmp_path / "model", "colmap", edit)
    assert not (tmp_path / "model").exists()


def test_colmap_needs_one_moment_cameras_and_all_pictures(tree: Path, tmp_path: Path) -> None:
    """A model without pictures, which no program can use."""
    with pytest.raises(InputError, match=r"2 moments, expected a scene of one moment"):
        export_scene(scene_of(spread(), spread()), tmp_path / "model", "colmap")
    with pytest.raises(InputError, match=r"without cameras, expected an output folder of sample"):
        export_scene(scene_of(spread()), tmp_path / "model", "colmap")
    (tree / "raw/rgb_0_view_idx_1.mp4").unlink()
    with pytest.raises(InputError, match="2 pictures for 3 cameras"):
        export_scene(read_back(tree), tmp_path / "model", "colmap")
