"""Tests of projection and unprojection."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.geometry.cameras import Cameras
from src.geometry.rays import project, unproject


@pytest.mark.parametrize("offset", [0.0, 0.5])
@pytest.mark.parametrize("batch", [(), (4,), (2, 3)])
def test_project_undoes_unproject(
    random_cameras: Callable[..., Cameras], batch: tuple[int, ...], offset: float
) -> None:
    """Catches any disagreement about axes, offsets, or which way a pose maps."""
    cameras = random_cameras(*batch)
    depth = 0.5 + 5 * torch.rand(*batch, cameras.height, cameras.width)
    points = unproject(depth, cameras.intrinsics, cameras.c2w, offset)
    xy, z = project(points.flatten(-3, -2), cameras.intrinsics, cameras.w2c)
    places = [(x, y) for y in range(cameras.height) for x in range(cameras.width)]
    expected = (torch.tensor(places) + offset).expand(*batch, -1, 2)
    torch.testing.assert_close(xy, expected, rtol=0, atol=2e-4)
    torch.testing.assert_close(z, depth.flatten(-2), rtol=1e-5, atol=1e-5)


def test_unproject_agrees_with_the_matrix_formula_pixel_by_pixel(
    random_cameras: Callable[..., Cameras],
) -> None:
    """Catches an error that projection and unprojection share."""
    cameras = random_cameras(1, width=5, height=3, dtype=torch.float64)[0]
    depth = torch.rand(3, 5, dtype=torch.float64)
    points = unproject(depth, cameras.intrinsics, cameras.c2w)
    inverse = torch.linalg.inv(cameras.K)
    for row in range(3):
        for column in range(5):
            pixel = torch.tensor([column + 0.5, row + 0.5, 1], dtype=torch.float64)
            local = torch.cat((inverse @ pixel * depth[row, column], torch.ones(1)))
            torch.testing.assert_close(points[row, column], (cameras.c2w @ local)[:3])


def test_project_agrees_with_the_matrix_formula(random_cameras: Callable[..., Cameras]) -> None:
    """Catches a depth that is a distance, or one set of points that broadcasts wrongly."""
    cameras = random_cameras(3, dtype=torch.float64)
    points = torch.randn(1, 20, 3, dtype=torch.float64)
    xy, z = project(points, cameras.intrinsics, cameras.w2c)
    assert xy.shape == (3, 20, 2)
    for index in range(3):
        local = points[0] @ cameras.w2c[index, :3, :3].mT + cameras.w2c[index, :3, 3]
        pixels = local @ cameras.K[index].mT
        torch.testing.assert_close(z[index], local[:, 2])
        torch.testing.assert_close(xy[index], pixels[:, :2] / (pixels[:, 2:] + 1e-7))


def test_a_point_at_the_camera_centre_stays_finite() -> None:
    """Catches a division by zero for pixels without depth, which lie at the camera centre."""
    camera = Cameras(torch.eye(4), torch.tensor([10.0, 10.0, 4.0, 4.0]), 8, 8)
    points = unproject(torch.zeros(8, 8), camera.intrinsics, camera.c2w)
    xy, z = project(points.flatten(0, 1), camera.intrinsics, camera.w2c)
    assert torch.isfinite(xy).all()
    assert (z == 0).all()


def test_autocast_does_not_reach_the_geometry(random_cameras: Callable[..., Cameras]) -> None:
    """Catches a matrix product that a region of lower precision would round to 8 bits."""
    cameras, depth = random_cameras(2), 1 + torch.rand(2, 16, 24)
    points = unproject(depth, cameras.intrinsics, cameras.c2w)
    with torch.autocast("cpu", torch.bfloat16):
        inside = unproject(depth, cameras.intrinsics, cameras.c2w)
        xy, _ = project(inside.flatten(1, 2), cameras.intrinsics, cameras.w2c)
    assert torch.equal(inside, points)
    assert xy.dtype == torch.float32


def test_gradients_reach_points_and_poses(random_poses: Callable[..., Tensor]) -> None:
    """Catches a detached or in-place step."""
    intrinsics = torch.tensor([3.0, 4.0, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    pose = random_poses(dtype=torch.float64).requires_grad_()
    depth = (1 + torch.rand(2, 3, dtype=torch.float64)).requires_grad_()
    assert torch.autograd.gradcheck(unproject, (depth, intrinsics, pose))
    points = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(project, (points, intrinsics, pose))
