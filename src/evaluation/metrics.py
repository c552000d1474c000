"""PSNR and SSIM of frames in [0, 1], frame by frame, on the device of the frames."""

import torch
from jaxtyping import Float
from torch import Tensor

# SSIM (Wang et al. 2004) with an 11-pixel Gaussian window of sigma 1.5.
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
# (0.01 L)**2 and (0.03 L)**2 of the same paper, for a data range L of 1.
C1, C2 = 1e-4, 9e-4


def psnr(
    predicted: Float[Tensor, "frame 3 h w"], target: Float[Tensor, "frame 3 h w"]
) -> Float[Tensor, " frame"]:
    """PSNR of each frame in dB, clipped to [0, 1], over channels and pixels; infinite if equal."""
    difference = predicted.float().clamp(0, 1) - target.float().clamp(0, 1)
    return -10 * torch.log10((difference**2).mean(dim=(1, 2, 3)))


def ssim(
    predicted: Float[Tensor, "frame 3 h w"], target: Float[Tensor, "frame 3 h w"]
) -> Float[Tensor, " frame"]:
    """Structural similarity of each frame in [-1, 1]; frames are clipped to [0, 1].

    Wang et al. 2004 as by scikit-image: a Gaussian window, sample (not population) covariances, the
    mean over channels and pixels whose window lies inside the frame. Frames are 11x11 or larger.
    """
    # Frame by frame, to stay in a CPU's caches.
    means = [
        _similarity(ours.float().clamp(0, 1), theirs.float().clamp(0, 1)).mean()
        for ours, theirs in zip(predicted, target, strict=True)
    ]
    return torch.stack(means)


def _similarity(
    x: Float[Tensor, "3 h w"], y: Float[Tensor, "3 h w"]
) -> Float[Tensor, "3 h_inside w_inside"]:
    """SSIM around each pixel whose window lies inside the frame."""
    # Variances don't depend on an offset. Without it, float32 squares of bright, flat frames have
    # an error of 1e-4.
    offset_x, offset_y = x.mean(dim=(1, 2), keepdim=True), y.mean(dim=(1, 2), keepdim=True)
    x, y = x - offset_x, y - offset_y
    mean_x, mean_y = _blurred(x), _blurred(y)
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    variance_x = sample * (_blurred(x * x) - mean_x**2)
    variance_y = sample * (_blurred(y * y) - mean_y**2)
    covariance = sample * (_blurred(x * y) - mean_x * mean_y)
    mean_x, mean_y = mean_x + offset_x, mean_y + offset_y
    numerator = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    denominator = (mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2)
    return numerator / denominator


def _blurred(frame: Float[Tensor, "3 h w"]) -> Float[Tensor, "3 h_inside w_inside"]:
    """The frame under the window, as two sums of shifted copies.

    A convolution may lose small variances to TF32 on CUDA, and is several times slower on a CPU.
    """
    radius = SSIM_WINDOW // 2
    taps = [-((index - radius) ** 2) / (2 * SSIM_SIGMA**2) for index in range(SSIM_WINDOW)]
    weights = torch.tensor(taps, dtype=torch.float64).softmax(dim=0).tolist()
    for dim in (1, 2):
        length = frame.shape[dim] - SSIM_WINDOW + 1
        assert length > 0, f"frames of at least {SSIM_WINDOW} pixels, got {frame.shape}"
        total = frame.narrow(dim, 0, length) * weights[0]
        for index, weight in enumerate(weights[1:], start=1):
            total.add_(frame.narrow(dim, index, length), alpha=weight)
        frame = total
    return frame
