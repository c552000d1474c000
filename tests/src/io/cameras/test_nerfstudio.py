import math
from pathlib import Path

import pytest
import torch
from corpus.generated import transforms

from src.io.cameras.file import trajectory_from_file


@pytest.mark.parametrize("size", [(2, 2), (320, 176), (1280, 704)])
def test_an_angle_fits_any_size(tmp_path: Path, size: tuple[int, int]) -> None:
    """Files of NeRF's synthetic scenes, which name no size, refused or with another lens."""
    lens = dict.fromkeys(("fl_x", "fl_y", "cx", "cy", "w", "h"))
    path = tmp_path / "transforms.json"
    transforms(**lens, camera_angle_x=math.radians(60))(path)
    cameras = trajectory_from_file(path, 5, *size)
    focal = size[0] / 2 / math.tan(math.radians(30))
    expected = torch.tensor([focal, focal, size[0] / 2, size[1] / 2])
    torch.testing.assert_close(cameras.intrinsics[0], expected)
    assert (cameras.width, cameras.height) == size


def test_the_camera_moves_as_the_file_says(tmp_path: Path) -> None:
    """Axes of OpenGL taken for OpenCV's: up becomes down, and frames of another order."""
    path = tmp_path / "transforms.json"
    transforms()(path)
    cameras = trajectory_from_file(path, 3, 64, 48)
    torch.testing.assert_close(cameras.c2w[0], torch.eye(4))
    # One step to the right and half a step up, which is towards smaller y.
    torch.testing.assert_close(cameras.c2w[2, :3, 3], torch.tensor([1.0, -0.5, 0.0]))
