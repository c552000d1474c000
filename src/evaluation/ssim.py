"""SSIM on the device of the frames, equal to scikit-image's, which works on the CPU."""

import torch
from jaxtyping import Float
from torch import Tensor

from .metrics import SSIM_WINDOW

SIGMA = 1.5
# (0.01 L)**2 and (0.03 L)**2 of Wang et al. 2004, for a data range L of 1.
C1, C2 = 1e-4, 9e-4


def ssim_torch(
    predicted: Float[Tensor, "frame 3 h w"], target: Float[Tensor, "frame 3 h w"]
) -> Float[Tensor, " frame"]:
    """Structural similarity of each frame in [-1, 1]; frames are clipped to [0, 1] first.

    Wang et al. 2004 with a Gaussian window, sample (not population) covariances, averaged over
    the pixels whose window lies inside the frame and over channels.
    """
    x, y = predicted.float().clamp(0, 1), target.float().clamp(0, 1)
    mean_x, mean_y = _blurred(x), _blurred(y)
    sample = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)
    variance_x = sample * (_blurred(x * x) - mean_x**2)
    variance_y = sample * (_blurred(y * y) - mean_y**2)
    covariance = sample * (_blurred(x * y) - mean_x * mean_y)
    numerator = (2 * mean_x * mean_y + C1) * (2 * covariance + C2)
    denominator = (mean_x**2 + mean_y**2 + C1) * (variance_x + variance_y + C2)
    return (numerator / denominator).mean(dim=(1, 2, 3))


def _blurred(frames: Float[Tensor, "frame 3 h w"]) -> Float[Tensor, "frame 3 h_inside w_inside"]:
    """The frames under the window, as two sums of shifted copies.

    No convolution: on CUDA those may run in TF32, which loses the small variances.
    """
    radius = SSIM_WINDOW // 2
    taps = [-((index - radius) ** 2) / (2 * SIGMA**2) for index in range(SSIM_WINDOW)]
    weights = torch.tensor(taps, dtype=torch.float64).exp()
    weights = (weights / weights.sum()).tolist()
    for dim in (2, 3):
        length = frames.shape[dim] - SSIM_WINDOW + 1
        assert length > 0, f"frames of at least {SSIM_WINDOW} pixels, got {frames.shape}"
        parts = (frames.narrow(dim, index, length) * w for index, w in enumerate(weights))
        frames = sum(parts, start=torch.zeros((), device=frames.device))
    return frames
