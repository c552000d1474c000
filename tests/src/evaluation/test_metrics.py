"""PSNR and SSIM against closed forms."""

import torch

from src.evaluation.metrics import psnr, ssim


def test_psnr_of_a_known_error() -> None:
    """Would catch a mean over the batch, or values outside [0, 1] that count."""
    target = torch.full((3, 3, 12, 12), 0.5)
    predicted = target + torch.tensor([0.1, 0.01, 10.0])[:, None, None, None]
    expected = torch.tensor([20.0, 40.0, -10 * torch.log10(torch.tensor(0.25)).item()])
    torch.testing.assert_close(psnr(predicted, target), expected, rtol=1e-4, atol=1e-4)


def test_equal_frames() -> None:
    """Would catch a clamp that hides a perfect match."""
    frames = torch.rand(2, 3, 16, 16)
    assert torch.isinf(psnr(frames, frames)).all()
    torch.testing.assert_close(ssim(frames, frames), torch.ones(2))


def test_ssim_of_constant_frames() -> None:
    """Would catch a wrong data range: for constants SSIM is its luminance term alone."""
    first, second = torch.full((1, 3, 16, 16), 0.2), torch.full((1, 3, 16, 16), 0.6)
    c1 = 0.01**2
    expected = (2 * 0.2 * 0.6 + c1) / (0.2**2 + 0.6**2 + c1)
    torch.testing.assert_close(ssim(first, second), torch.tensor([expected]), rtol=1e-4, atol=0)
