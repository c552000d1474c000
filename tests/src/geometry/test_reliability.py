"""The reliability mask against a loop over windows."""

import pytest
import torch
from torch import Tensor

from src.geometry.warping import reliable_mask


def brute_force(depth: Tensor, threshold: float) -> Tensor:
    """One window at a time; the mean divides by 25 wherever the window lies."""
    height, width = depth.shape
    mask = torch.zeros(height, width, dtype=torch.bool)
    for row in range(height):
        for column in range(width):
            rows = slice(max(row - 2, 0), row + 3)
            window = depth[rows, max(column - 2, 0) : column + 3]
            ratio = (window.max() - window.min()) / (window.sum() / 25 + 1e-6)
            mask[row, column] = bool(ratio < threshold) and bool(depth[row, column] > 0)
    return mask


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.5])
def test_mask_is_that_of_a_loop_over_windows(threshold: float) -> None:
    """Catches a mean that leaves the padding out, and extrema that see the padding."""
    depth = 2 + torch.linspace(0, 0.4, 9)[:, None] + 0.1 * torch.rand(9, 14)
    depth[3, 4], depth[:, 10:] = 0, 5 + 0.02 * torch.rand(9, 4)
    expected = brute_force(depth, threshold)
    assert torch.equal(reliable_mask(depth, threshold), expected)
    assert threshold < 0.05 or (expected.any() and not expected.all())


def test_batch_dimensions_are_independent() -> None:
    """Catches windows that reach into the neighbouring frame."""
    depth = 1 + torch.rand(2, 3, 8, 7)
    masks = reliable_mask(depth, 0.6)
    assert masks.shape == depth.shape
    for index in range(3):
        assert torch.equal(masks[1, index], reliable_mask(depth[1, index], 0.6))


def test_pixels_without_depth_are_never_reliable() -> None:
    """Catches 0 < threshold where all of a window is zero, negative or NaN."""
    for value in (0.0, -1.0, torch.nan):
        depth = torch.full((8, 8), value)
        assert not reliable_mask(depth, 0.5).any(), value
