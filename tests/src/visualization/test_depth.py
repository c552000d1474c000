"""Colours of depth."""

import torch

from src.visualization import colorize_depth, depth_range


def test_near_is_red_and_far_is_blue() -> None:
    """Would catch a reversed colour scale."""
    near, middle, far = colorize_depth(torch.tensor([[[1.0, 2.0, 3.0]]]), (1.0, 3.0))[0, 0].tolist()
    assert near == [128, 0, 0]
    assert middle == [128, 255, 128]
    assert far == [0, 0, 128]


def test_one_scale_for_the_whole_clip_that_ignores_outliers() -> None:
    """Would catch flicker from a scale per frame, or one far pixel that flattens the rest."""
    depth = torch.rand(4, 40, 40) + torch.arange(4)[:, None, None]
    depth[0, 0, 0] = 1e6
    depth[0, 0, 1] = torch.inf
    low, high = depth_range(depth)
    assert 0 < low < 0.2 and 3.8 < high < 4
    colors = colorize_depth(depth)
    assert colors[0, 1:, :, 0].float().mean() > colors[3, 1:, :, 0].float().mean()


def test_constant_and_unknown_depth() -> None:
    """Would catch a division by zero."""
    assert colorize_depth(torch.ones(1, 2, 2)).shape == (1, 2, 2, 3)
    assert depth_range(torch.full((2, 2), torch.nan)) == (0.0, 1.0)
