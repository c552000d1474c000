"""Tests of cameras: inverses, intrinsics and their scaling, the check of poses."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.geometry.cameras import (
    Cameras,
    check_poses,
    compose,
    intrinsics_to_matrix,
    invert_rigid,
    matrix_to_intrinsics,
)
from src.geometry.rays import project
from src.runtime import InputError


def test_invert_rigid_is_the_inverse(random_poses: Callable[..., Tensor]) -> None:
    """Catches a translation that is not turned back, in any batch shape."""
    for batch in ((), (5,), (2, 3)):
        pose = random_poses(*batch, dtype=torch.float64)
        torch.testing.assert_close(invert_rigid(pose), torch.linalg.inv(pose))


def test_compose_is_the_matrix_product_and_ignores_autocast(
    random_poses: Callable[..., Tensor],
) -> None:
    """Catches poses that lose their precision inside a region of lower precision."""
    left, right = random_poses(4), random_poses(1)
    with torch.autocast("cpu", torch.bfloat16):
        product = compose(left, right)
    torch.testing.assert_close(product, left @ right)


def test_intrinsics_and_matrix_round_trip() -> None:
    """Catches swapped focal lengths or a transposed matrix."""
    intrinsics = torch.rand(3, 2, 4)
    matrix = intrinsics_to_matrix(intrinsics)
    assert torch.equal(matrix_to_intrinsics(matrix), intrinsics)
    fx, fy, cx, cy = intrinsics[1, 0]
    point = matrix[1, 0] @ torch.tensor([2.0, 3.0, 4.0])
    torch.testing.assert_close(point, torch.stack((2 * fx + 4 * cx, 3 * fy + 4 * cy, fx * 0 + 4)))


def test_resized_cameras_see_points_at_the_same_part_of_the_frame(
    random_cameras: Callable[..., Cameras],
) -> None:
    """Catches one scale for both axes, or an unscaled principal point."""
    cameras = random_cameras(3, width=24, height=16)
    large = cameras.resized(60, 80)
    assert (large.width, large.height) == (60, 80)
    points = torch.randn(3, 10, 3)
    small_xy, _ = project(points, cameras.intrinsics, cameras.w2c)
    large_xy, _ = project(points, large.intrinsics, large.w2c)
    scale = torch.tensor([60 / 24, 80 / 16])
    torch.testing.assert_close(large_xy, small_xy * scale, rtol=1e-4, atol=1e-3)


def test_relative_to_makes_the_reference_the_origin(random_cameras: Callable[..., Cameras]) -> None:
    """Catches the inverse on the wrong side; points move with the cameras."""
    cameras = random_cameras(4, dtype=torch.float64)
    reference = cameras.c2w[2]
    relative = cameras.relative_to(reference)
    torch.testing.assert_close(relative.c2w[2], torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(reference @ relative.c2w, cameras.c2w)


def test_indexing_and_concatenation_are_inverse(random_cameras: Callable[..., Cameras]) -> None:
    """Catches poses and intrinsics that are sliced differently."""
    cameras = random_cameras(5)
    joined = Cameras.concatenate([cameras[:2], cameras[torch.tensor([2, 3, 4])]])
    assert torch.equal(joined.c2w, cameras.c2w)
    assert torch.equal(joined.intrinsics, cameras.intrinsics)
    assert len(joined) == 5
    with pytest.raises(AssertionError, match="one picture size"):
        Cameras.concatenate([cameras, cameras.resized(10, 10)])


def test_check_poses_accepts_rotations_with_rounded_digits(
    random_poses: Callable[..., Tensor],
) -> None:
    """Catches a tolerance that refuses files with four decimals."""
    check_poses((random_poses(50) * 1e4).round() / 1e4, "file")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda pose: pose[1, 2].fill_(math.nan), "non-finite pose at index 1"),
        (lambda pose: pose[1, 0, 3].fill_(math.inf), "non-finite pose at index 1"),
        (lambda pose: pose[1].zero_(), "pose 1"),
        (lambda pose: pose[1, :3, :3].mul_(1.01), "pose 1"),
        (lambda pose: pose[1, :3, 0].neg_(), "pose 1"),
        (lambda pose: pose[1, 3, 0].fill_(0.1), "pose 1"),
        (lambda pose: pose[1].copy_(pose[1].mT.clone()), "pose 1"),
    ],
    ids=["nan", "infinite", "zero", "scaled", "mirrored", "last row", "transposed"],
)
def test_check_poses_names_source_and_index(
    random_poses: Callable[..., Tensor], change: Callable[[Tensor], Tensor], message: str
) -> None:
    """Catches each kind of matrix that is no camera pose."""
    poses = random_poses(3)
    change(poses)
    with pytest.raises(InputError, match=f"some file.*{message}"):
        check_poses(poses, "some file")
