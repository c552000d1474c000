"""Measurements of a tokenizer: statistics of its latents, and errors of decoded colours.

Colours are RGB in [0, 1]; clips are `[clip, 3, frame, h, w]`.
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...evaluation.metrics import ClipErrors, channel_errors, clip_errors
from ...io.image.pixels import round_to_uint8
from ...tokenizer.statistics import LatentStatistics
from ...visualization import contact_sheet
from ..task import Validation

# Clips that are drawn, and frames of each.
PICTURED, FRAMES = 4, 4
# Bounds the division by a constant channel.
LEAST_STD = 1e-4


def measure_statistics(
    encode: Callable[[Tensor], Tensor], videos: Iterable[Tensor]
) -> LatentStatistics:
    """Returns means and deviations of raw latents by channel and latent frame, on the CPU.

    `encode` turns videos in [-1, 1] into raw latents; all `videos` have one size.
    """
    total, squares, count = torch.zeros(()), torch.zeros(()), 0
    for video in videos:
        latent = encode(video).double()
        total = total.to(latent) + latent.sum(dim=(0, 3, 4))
        squares = squares.to(latent) + (latent * latent).sum(dim=(0, 3, 4))
        count += latent[:, 0, 0].numel()
    assert count > 0, "statistics of no clips"
    mean = total / count
    std = (squares / count - mean * mean).clamp_min(LEAST_STD**2).sqrt()
    return LatentStatistics(mean.float().cpu(), std.float().cpu())


def color_figures(
    decoded: Float[Tensor, "clip 3 frame h w"], clips: Float[Tensor, "clip 3 frame h w"]
) -> dict[str, float]:
    """Returns the PSNR in dB of RGB, luma and both chroma channels, means over the clips.

    `gain_cb` and `gain_cr` are the gains of the chroma channels over grey pictures: 0 if a chroma
    axis has collapsed, which the other figures hardly show.
    """
    errors, grey = (
        channel_errors(decoded, clips),
        channel_errors(clips.mean(1, True).expand_as(clips), clips),
    )
    figures = {"psnr": _mean(clip_errors(decoded, clips))}
    figures |= {f"psnr_{name}": _mean(error) for name, error in errors.items()}
    for name in ("cb", "cr"):
        figures[f"gain_{name}"] = figures[f"psnr_{name}"] - _mean(grey[name])
    return figures


def _mean(errors: ClipErrors) -> float:
    # Equal clips, such as grey ones, have the precision of 8 bits.
    return float(errors.psnr().clamp_max(60).mean())


def reconstruction_sheet(
    decoded: Float[Tensor, "3 frame h w"], clip: Float[Tensor, "3 frame h w"]
) -> UInt8[Tensor, "sheet_h sheet_w 3"]:
    """Returns a sheet of at most four frames of a clip above the same frames decoded."""
    frames = torch.linspace(0, clip.shape[1] - 1, min(FRAMES, clip.shape[1])).round().long()
    rows = torch.cat([part.cpu()[:, frames].movedim(0, -1) for part in (clip, decoded)])
    pictures = round_to_uint8(rows.float())
    return contact_sheet(pictures, columns=len(frames))


class Measurement:
    """Means of the figures over clips, and stacked sheets of the first clips."""

    def __init__(self) -> None:
        self._result = Validation()
        self._sheets: list[Tensor] = []

    def add(
        self, decoded: Float[Tensor, "1 3 frame h w"], clip: Float[Tensor, "1 3 frame h w"]
    ) -> None:
        """Measure one clip; both videos are in [-1, 1]."""
        decoded, clip, figures = (decoded.float() + 1) / 2, (clip + 1) / 2, self._result.figures
        for name, value in color_figures(decoded, clip).items():
            figures[name] = figures.get(name, 0.0) + value
        self._result.count += 1
        if len(self._sheets) < PICTURED:
            self._sheets.append(reconstruction_sheet(decoded[0], clip[0]))

    def result(self) -> Validation:
        """Returns the figures and the picture of all added clips."""
        count, sums = self._result.count, self._result.figures
        figures = {name: total / count for name, total in sums.items()}
        return Validation(count, figures, torch.cat(self._sheets) if self._sheets else None)
