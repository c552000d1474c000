"""SSIM in torch against scikit-image's."""

import torch

from src.evaluation.metrics import ssim
from src.evaluation.ssim import ssim_torch


def test_it_equals_scikit_image() -> None:
    """Another window, border, covariance or average."""
    generator = torch.Generator().manual_seed(0)
    for height, width in ((11, 11), (16, 32), (33, 47)):
        target = torch.rand(3, 3, height, width, generator=generator)
        target[1] = target[1, :, :1, :1]
        noise = torch.randn(target.shape, generator=generator)
        predicted = target + noise * torch.tensor([0.05, 0.2, 1.0])[:, None, None, None]
        expected = ssim(predicted, target)
        torch.testing.assert_close(ssim_torch(predicted, target), expected, rtol=0, atol=2e-5)


def test_equal_frames_are_perfectly_similar() -> None:
    """Rounding of the variances that shows in flat frames."""
    flat = torch.full((1, 3, 20, 20), 0.7)
    torch.testing.assert_close(ssim_torch(flat, flat), torch.ones(1))
