"""The tokenizer's loss: pure functions of videos `[clip, 3, frame, h, w]` in [-1, 1], in float32.

Luma and chroma are linear in RGB, so those of an error are the errors of luma and chroma.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...evaluation.masked import ycbcr
from .config import TokenizerLossConfig


@dataclass(frozen=True)
class ReconstructionTerms:
    """Unweighted terms, and the weighted sum of those that need no other network."""

    total: Float[Tensor, ""]
    l1: Float[Tensor, ""]
    mse: Float[Tensor, ""]
    chroma: Float[Tensor, ""]


def reconstruction_loss(
    decoded: Float[Tensor, "clip 3 frame h w"],
    video: Float[Tensor, "clip 3 frame h w"],
    config: TokenizerLossConfig,
) -> ReconstructionTerms:
    """L1, mean squared error, and L1 of both chroma channels (BT.601), and their weighted sum.

    A network may lower the first two with luma alone and leave colours grey; the third sees
    nothing else.
    """
    error = decoded.float() - video.float()
    l1, mse = error.abs().mean(), (error * error).mean()
    chroma = ycbcr(error)[:, 1:].abs().mean()
    total = config.l1 * l1 + config.l2 * mse + config.chroma * chroma
    return ReconstructionTerms(total, l1, mse, chroma)


def psnr_of(mse: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """PSNR in dB of a mean squared error of colours in [-1, 1]."""
    return -10 * torch.log10(mse / 4)
