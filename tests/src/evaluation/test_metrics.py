"""PSNR and SSIM against closed forms and scikit-image."""

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


def test_ssim_equals_scikit_image() -> None:
    """Would catch another window, border, covariance or average."""
    from skimage.metrics import structural_similarity

    generator = torch.Generator().manual_seed(0)
    for height, width in ((11, 11), (16, 32), (33, 47)):
        target = torch.rand(3, 3, height, width, generator=generator)
        target[1] = target[1, :, :1, :1]
        noise = torch.randn(target.shape, generator=generator)
        predicted = target + noise * torch.tensor([0.05, 0.2, 1.0])[:, None, None, None]
        expected = [
            structural_similarity(
                *pair, win_size=11, gaussian_weights=True, channel_axis=0, data_range=1
            )
            for pair in zip(predicted.clamp(0, 1).numpy(), target.numpy(), strict=True)
        ]
        found = ssim(predicted, target)
        torch.testing.assert_close(found, torch.tensor(expected).float(), rtol=0, atol=2e-5)


def test_ssim_of_flat_frames_keeps_its_precision() -> None:
    """Would catch rounding of the variances, small differences of squares, in bright frames."""
    ours, theirs = torch.rand(2, 50, 3, 1, 1, generator=torch.Generator().manual_seed(0)).double()
    expected = ((2 * ours * theirs + 1e-4) / (ours**2 + theirs**2 + 1e-4)).mean(dim=(1, 2, 3))
    found = ssim(*(level.float().expand(-1, -1, 20, 20) for level in (ours, theirs)))
    torch.testing.assert_close(found, expected.float(), rtol=0, atol=2e-6)
