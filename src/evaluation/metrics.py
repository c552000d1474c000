"""PSNR and SSIM of frames in [0, 1], frame by frame."""

import torch
from jaxtyping import Float
from torch import Tensor

# SSIM (Wang et al. 2004) with an 11-pixel Gaussian window of sigma 1.5.
SSIM_WINDOW = 11


def psnr(
    predicted: Float[Tensor, "frame 3 h w"], target: Float[Tensor, "frame 3 h w"]
) -> Float[Tensor, " frame"]:
    """Peak signal-to-noise ratio of each frame in dB; infinite for equal frames.

    Both are clipped to [0, 1] first; the mean square error runs over channels and pixels.
    """
    difference = predicted.float().clamp(0, 1) - target.float().clamp(0, 1)
    return -10 * torch.log10((difference**2).mean(dim=(1, 2, 3)))


def ssim(
    predicted: Float[Tensor, "frame 3 h w"], target: Float[Tensor, "frame 3 h w"]
) -> Float[Tensor, " frame"]:
    """Structural similarity of each frame in [-1, 1], by scikit-image, at least 11x11 pixels."""
    from skimage.metrics import structural_similarity

    values = [
        structural_similarity(
            ours, theirs, win_size=SSIM_WINDOW, gaussian_weights=True, channel_axis=0, data_range=1
        )
        for ours, theirs in zip(
            predicted.float().clamp(0, 1).cpu().numpy(),
            target.float().clamp(0, 1).cpu().numpy(),
            strict=True,
        )
    ]
    return torch.tensor(values, dtype=torch.float32)
