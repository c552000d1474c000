"""Tests of rotations: quaternions at every angle, and interpolation along the shortest arc."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.geometry.cameras import (
    matrix_to_quaternion,
    nearest_rotation,
    quaternion_to_matrix,
    turn_fraction,
)


def _turn(axis: Tensor, angle: float) -> Tensor:
    """The rotation about `axis` by `angle`, as an exponential: independent of quaternions."""
    x, y, z = (axis / axis.norm()).tolist()
    generator = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.linalg.matrix_exp(angle * generator)


@settings(deadline=None, max_examples=60)
@given(
    angle=st.one_of(
        st.floats(0, math.pi), st.sampled_from([0, 1e-12, 1e-6, math.pi - 1e-9, math.pi])
    ),
    seed=st.integers(0, 10_000),
    axis_aligned=st.booleans(),
)
def test_quaternion_round_trip_and_fraction_at_any_angle(
    angle: float, seed: int, axis_aligned: bool
) -> None:
    """Catches the singular cases: no turn, half a turn, axes along coordinate axes."""
    axis = torch.randn(3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    if axis_aligned:
        axis = torch.eye(3, dtype=torch.float64)[seed % 3]
    rotation = _turn(axis, angle)
    quaternion = matrix_to_quaternion(rotation)
    assert quaternion[0] >= 0
    torch.testing.assert_close(quaternion_to_matrix(quaternion), rotation, rtol=0, atol=1e-9)
    third = turn_fraction(rotation, torch.tensor(1 / 3, dtype=torch.float64))
    # At half a turn either arc is right; three thirds lead to the same place on both.
    torch.testing.assert_close(third @ third @ third, rotation, rtol=0, atol=1e-9)
    assert torch.arccos(((third.trace() - 1) / 2).clamp(-1, 1)) <= angle / 3 + 1e-6


def test_quaternions_are_normalised_first(random_poses: Callable[..., Tensor]) -> None:
    """Catches matrices that are scaled by the length of a quaternion."""
    quaternion = torch.randn(20, 4, dtype=torch.float64)
    matrix = quaternion_to_matrix(quaternion)
    torch.testing.assert_close(quaternion_to_matrix(5 * quaternion), matrix)
    identity = torch.eye(3, dtype=torch.float64).expand(20, 3, 3)
    torch.testing.assert_close(matrix @ matrix.mT, identity)
    assert quaternion_to_matrix(torch.tensor([1.0, 0, 0, 0])).equal(torch.eye(3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nearest_rotation_repairs_rounded_digits(
    random_poses: Callable[..., Tensor], dtype: torch.dtype
) -> None:
    """Catches a repair that moves exact rotations, or leaves rounded ones as they are."""
    rotation = random_poses(30, dtype=dtype)[:, :3, :3]
    torch.testing.assert_close(nearest_rotation(rotation), rotation)
    repaired = nearest_rotation((rotation * 1e4).round() / 1e4)
    torch.testing.assert_close(repaired, rotation, rtol=0, atol=1e-4)
    identity = torch.eye(3, dtype=dtype).expand(30, 3, 3)
    torch.testing.assert_close(repaired @ repaired.mT, identity)
