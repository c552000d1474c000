"""PSNR and SSIM of frames, and errors of clips on a mask of pixels and of luma and chroma.

Colours are RGB in [0, 1]. The PSNR of a clip is that of its mean square error over all compared
values. A figure over clips is the mean of theirs, or pooled: the PSNR of all squared errors.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

# SSIM (Wang et al. 2004) with an 11-pixel Gaussian window of sigma 1.5.
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
# (0.01 L)**2 and (0.03 L)**2 of the same paper, for a data range L of 1.
C1, C2 = 1e-4, 9e-4
# Rows Y, Cb, Cr of ITU-R BT.601 in full range, each of which spans 1; grey has no chroma.
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
# The least change of a pixel's most changed channel that counts as motion: twice the visible
# threshold, above the noise of 8 bits and of antialiasing.
MOTION = 16 / 255


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


@dataclass(frozen=True)
class ClipErrors:
    """Sums of the squared errors of clips, and the number of values in each; float64."""

    squared: Float[Tensor, " clip"]
    count: Float[Tensor, " clip"]

    def psnr(self) -> Float[Tensor, " clip"]:
        """PSNR of each clip in dB: infinite without a difference, NaN without a value."""
        return -10 * torch.log10(self.squared / self.count)

    def summary(self) -> dict[str, float | int | None]:
        """Mean PSNR of the clips with a finite one, the pooled PSNR, and the number of clips."""
        found = self.psnr()
        finite = found[found.isfinite()]
        squared, count = self.squared.sum().item(), self.count.sum().item()
        pooled = -10 * math.log10(squared / count) if squared > 0 else None
        mean = finite.mean().item() if len(finite) else None
        return {"psnr": mean, "pooled": pooled, "clips": len(finite)}

    @staticmethod
    def concatenate(parts: "Sequence[ClipErrors]") -> "ClipErrors":
        """The clips of all parts, on the CPU."""
        squared = torch.cat([part.squared.cpu() for part in parts])
        return ClipErrors(squared, torch.cat([part.count.cpu() for part in parts]))


def clip_errors(
    predicted: Float[Tensor, "clip 3 frame h w"],
    target: Float[Tensor, "clip 3 frame h w"],
    mask: Bool[Tensor, "clip frame h w"] | None = None,
) -> ClipErrors:
    """The errors of clips on the pixels of `mask` (None: all), clipped to [0, 1]."""
    squared = (predicted.float().clamp(0, 1) - target.float().clamp(0, 1)) ** 2
    pixels = squared.sum(dim=1, dtype=torch.float64)
    if mask is None:
        mask = torch.ones_like(pixels, dtype=torch.bool)
    total = pixels.where(mask, 0).sum(dim=(1, 2, 3))
    return ClipErrors(total, predicted.shape[1] * mask.sum(dim=(1, 2, 3)).double())


def ycbcr(rgb: Float[Tensor, "clip 3 frame h w"]) -> Float[Tensor, "clip 3 frame h w"]:
    """Luma in [0, 1], then the two chroma channels in [-0.5, 0.5]."""
    red, green, blue = rgb.unbind(dim=1)
    return torch.stack([r * red + g * green + b * blue for r, g, b in YCBCR], dim=1)


def channel_errors(
    predicted: Float[Tensor, "clip 3 frame h w"], target: Float[Tensor, "clip 3 frame h w"]
) -> dict[str, ClipErrors]:
    """The errors of `y`, `cb` and `cr`, each of which has a range of 1."""
    ours, theirs = (ycbcr(rgb.float().clamp(0, 1)) for rgb in (predicted, target))
    squared = ((ours - theirs) ** 2).sum(dim=(2, 3, 4), dtype=torch.float64)
    count = torch.full_like(squared[:, 0], ours[0, 0].numel())
    return {name: ClipErrors(squared[:, k], count) for k, name in enumerate(("y", "cb", "cr"))}


def moving_pixels(
    frames: Float[Tensor, "*batch 3 h w"], others: Float[Tensor, "*batch 3 h w"]
) -> Bool[Tensor, "*batch h w"]:
    """A mask of pixels that differ by `MOTION` or more in any channel."""
    return (frames - others).abs().amax(dim=-3) >= MOTION
