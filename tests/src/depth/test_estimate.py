"""Depth estimates: what they refuse, and depth without NaN and infinities."""

import pytest
import torch

from src.depth.estimate import DepthEstimate, clamp_depth
from src.runtime import InputError


@pytest.mark.parametrize(
    "intrinsics",
    [(0.0, 5, 1, 1), (5.0, -5, 1, 1), (torch.nan, 5, 1, 1), (5.0, 5, torch.inf, 1)],
)
def test_intrinsics_of_no_camera_are_refused(intrinsics: tuple) -> None:
    """Catches a failed focal length that reaches the geometry."""
    depth = torch.ones(2, 3)
    with pytest.raises(InputError, match="intrinsics"):
        DepthEstimate(depth, depth > 0, torch.tensor(intrinsics))


def test_mask_of_another_size_is_refused() -> None:
    """Catches a mask that only fits after broadcasting."""
    with pytest.raises((InputError, TypeError)):
        DepthEstimate(torch.ones(2, 3), torch.ones(2, 1, dtype=torch.bool), torch.ones(4))


def test_clamped_depth_is_finite() -> None:
    """Catches NaN taken for zero depth and infinities that survive."""
    depth = torch.tensor([torch.nan, torch.inf, -torch.inf, -1, 0, 3, 200])
    assert clamp_depth(depth, 100.0).tolist() == [100, 100, 0, 0, 0, 3, 100]
