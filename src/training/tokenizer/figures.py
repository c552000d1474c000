"""Measurements of a tokenizer: its loss, statistics of its latents, errors of decoded colours.

Clips are `[clip, 3, frame, h, w]`; their colours are RGB in [0, 1], those of videos in [-1, 1].
"""

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...evaluation.metrics import ClipErrors, channel_errors, clip_errors, ycbcr
from ...io.image import round_to_uint8
from ...tokenizer.cosmos import LatentStatistics, moments
from ...visualization import contact_sheet
from ..task import Validation
from .config import TokenizerLossConfig

# Clips that are drawn, and frames of each.
PICTURED, FRAMES = 4, 4
# Bounds the division by a constant channel.
LEAST_STD = 1e-4


def reconstruction_loss(
    decoded: Float[Tensor, "clip 3 frame h w"],
    video: Float[Tensor, "clip 3 frame h w"],
    config: TokenizerLossConfig,
) -> dict[str, Float[Tensor, ""]]:
    """Returns the weighted sum `loss` (without LPIPS) and its terms, for videos in [-1, 1].

    The terms are `l1`, the mean squared error `mse`, and `chroma`, the L1 of both chroma channels
    (BT.601). Luma alone lowers the first two; the third keeps a network from decoding grey. The
    means weigh the first frame with `config.first_frame`.
    """
    # Chroma is linear in RGB: the chroma of an error is the error of the chroma.
    error = decoded.float() - video.float()
    weight = torch.ones(video.shape[2], 1, 1, device=video.device)
    weight[0] = config.first_frame
    weight = weight / weight.mean()
    l1, mse = (weight * error.abs()).mean(), (weight * error * error).mean()
    chroma = (weight * ycbcr(error)[:, 1:].abs()).mean()
    loss = config.l1 * l1 + config.l2 * mse + config.chroma * chroma
    return {"loss": loss, "l1": l1, "mse": mse, "chroma": chroma}


def psnr_of(mse: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Returns the PSNR in dB of a mean squared error of colours in [-1, 1]."""
    return -10 * torch.log10(mse / 4)


def measure_statistics(
    encode: Callable[[Tensor], Tensor], videos: Iterable[Tensor]
) -> LatentStatistics:
    """Returns means and deviations of raw latents by channel and latent frame, on the CPU.

    `encode` turns videos in [-1, 1] into raw latents; all `videos` have one size.
    """
    mean, std = moments(map(encode, videos), (0, 3, 4), LEAST_STD)
    return LatentStatistics(mean.cpu(), std.cpu())


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


def measure_clip(
    decoded: Float[Tensor, "1 3 frame h w"], clip: Float[Tensor, "1 3 frame h w"], draw: bool
) -> Validation:
    """Returns the figures of one clip, with a sheet if it is wanted; both videos are in [-1, 1]."""
    decoded, clip = (decoded.float() + 1) / 2, (clip + 1) / 2
    sheet = reconstruction_sheet(decoded[0], clip[0]) if draw else None
    return Validation(1, color_figures(decoded, clip), sheet)
