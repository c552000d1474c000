"""Random cameras for the tests of the geometry."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.geometry.cameras import Cameras, quaternion_to_matrix


@pytest.fixture
def random_poses() -> Callable[..., Tensor]:
    """Makes rigid poses of any batch shape, any rotation, centres of size about 1."""

    def make(*batch: int, dtype: torch.dtype = torch.float32) -> Tensor:
        poses = torch.zeros(*batch, 4, 4, dtype=dtype)
        poses[..., :3, :3] = quaternion_to_matrix(torch.randn(*batch, 4, dtype=dtype))
        poses[..., :3, 3] = torch.randn(*batch, 3, dtype=dtype)
        poses[..., 3, 3] = 1
        return poses

    return make


@pytest.fixture
def random_cameras(random_poses: Callable[..., Tensor]) -> Callable[..., Cameras]:
    """Makes cameras with different focal lengths per axis and an off-centre principal point."""

    def make(
        *batch: int, width: int = 24, height: int = 16, dtype: torch.dtype = torch.float32
    ) -> Cameras:
        size = torch.tensor([width, height, width, height], dtype=dtype)
        low, high = torch.tensor([0.6, 0.8, 0.3, 0.4]), torch.tensor([1.5, 2.0, 0.6, 0.7])
        factor = low + (high - low) * torch.rand(*batch, 4, dtype=dtype)
        return Cameras(random_poses(*batch, dtype=dtype), factor * size, width, height)

    return make
