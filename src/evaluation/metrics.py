"""PSNR, SSIM and LPIPS of frames; errors of clips on a mask of pixels, and of luma and chroma.

Colours are RGB in [0, 1]. The PSNR of a clip is that of its mean square error over all compared
values. A figure over clips is the mean of theirs, or pooled: the PSNR of all squared errors.

LPIPS is version 0.1 with VGG16 features (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep
Features as a Perceptual Metric"). Its weights are two published files in one folder: torchvision's
VGG16 (`vgg16-397923af.pth`) and the metric's linear layers (`vgg.pth`).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from ..checkpoints.opening import open_weights
from ..runtime import InputError

# SSIM (Wang et al. 2004) with an 11-pixel Gaussian window of sigma 1.5.
SSIM_WINDOW, SSIM_SIGMA = 11, 1.5
# (0.01 L)**2 and (0.03 L)**2 of the same paper, for a data range L of 1.
C1, C2 = 1e-4, 9e-4
# Rows Y, Cb, Cr of ITU-R BT.601 in full range, each of which spans 1; grey has no chroma.
YCBCR = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
# The least change of a pixel's most changed channel that counts as motion: twice the visible
# threshold, above the noise of 8 bits and of antialiasing.
MOTION = 16 / 255
BACKBONE_FILE, LINEAR_FILE = "vgg16-397923af.pth", "vgg.pth"
# Output widths of the convolutions by torchvision's index; pooling comes before those in POOLED.
CONVOLUTIONS = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256}
CONVOLUTIONS |= {17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512}
POOLED = (5, 10, 17, 24)
TAPS = {2: 64, 7: 128, 14: 256, 21: 512, 28: 512}
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


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


class LPIPS(nn.Module):
    """Perceptual distance of frames in [0, 1]; 0 for equal ones, about 1 for unrelated ones."""

    shift: Tensor
    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        layers = zip(CONVOLUTIONS, pairwise([3, *CONVOLUTIONS.values()]), strict=True)
        self.features = nn.ModuleDict(
            {
                str(index): nn.Conv2d(before, after, 3, padding=1)
                for index, (before, after) in layers
            }
        )
        self.linear = nn.ParameterList(torch.zeros(1, width, 1, 1) for width in TAPS.values())
        self.register_buffer("shift", torch.tensor(SHIFT).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE).reshape(1, 3, 1, 1), persistent=False)

    def forward(
        self, first: Float[Tensor, "frame 3 h w"], second: Float[Tensor, "frame 3 h w"]
    ) -> Float[Tensor, " frame"]:
        """Distance of each pair of frames; differentiable in both."""
        total = first.new_zeros(first.shape[0])
        pairs = zip(self._taps(first), self._taps(second), self.linear, strict=True)
        for ours, theirs, weight in pairs:
            difference = (_unit_channels(ours) - _unit_channels(theirs)) ** 2
            total = total + (difference * weight).sum(dim=1).mean(dim=(1, 2))
        return total

    def _taps(self, frames: Float[Tensor, "frame 3 h w"]) -> list[Tensor]:
        value = (2 * frames - 1 - self.shift) / self.scale
        taps = []
        for index in CONVOLUTIONS:
            if index in POOLED:
                value = F.max_pool2d(value, 2)
            value = F.relu(self.features[str(index)](value))
            if index in TAPS:
                taps.append(value)
        return taps


def load_lpips(folder: Path, device: torch.device | str = "cpu") -> LPIPS:
    """The metric with its published weights, frozen; `InputError` for a bad file or tensor."""
    network = LPIPS()
    backbone, linear = _read(folder / BACKBONE_FILE), _read(folder / LINEAR_FILE)
    names = [f"features.{index}.{part}" for index in CONVOLUTIONS for part in ("weight", "bias")]
    state = {name: _tensor(folder / BACKBONE_FILE, backbone, name) for name in names}
    for index in range(len(TAPS)):
        name = f"lin{index}.model.1.weight"
        state[f"linear.{index}"] = _tensor(folder / LINEAR_FILE, linear, name)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(folder, error, "weights of VGG16 and of LPIPS 0.1") from error
    return network.requires_grad_(False).eval().to(device)


def _unit_channels(value: Float[Tensor, "frame c h w"]) -> Float[Tensor, "frame c h w"]:
    # The inner constant keeps the gradient of an all-zero feature finite.
    return value / (((value**2).sum(dim=1, keepdim=True) + 1e-20).sqrt() + 1e-10)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        expected = "LPIPS weights; `python scripts/download_checkpoints.py --what lpips` gets them"
        raise InputError(path, "no such file", expected)
    return open_weights(path).read()


def _tensor(path: Path, state: dict[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise InputError(path, f"no tensor {name}", "published weights")
    return state[name]
