"""The tokenizer's loss: pure functions of videos in [-1, 1], in float32.

Luma and chroma are linear in RGB: the chroma of an error is the error of the chroma.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...evaluation.metrics import ycbcr
from .config import TokenizerLossConfig


@dataclass(frozen=True)
class ReconstructionTerms:
    """Unweighted terms, and their weighted sum without LPIPS."""

    total: Float[Tensor, ""]
    l1: Float[Tensor, ""]
    mse: Float[Tensor, ""]
    chroma: Float[Tensor, ""]


def reconstruction_loss(
    decoded: Float[Tensor, "clip 3 frame h w"],
    video: Float[Tensor, "clip 3 frame h w"],
    config: TokenizerLossConfig,
) -> ReconstructionTerms:
    """Returns L1, mean squared error, L1 of both chroma channels (BT.601), and their weighted sum.

    Luma alone lowers the first two terms; the third keeps a network from decoding grey.
    """
    error = decoded.float() - video.float()
    l1, mse = error.abs().mean(), (error * error).mean()
    chroma = ycbcr(error)[:, 1:].abs().mean()
    total = config.l1 * l1 + config.l2 * mse + config.chroma * chroma
    return ReconstructionTerms(total=total, l1=l1, mse=mse, chroma=chroma)


def psnr_of(mse: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Returns the PSNR in dB of a mean squared error of colours in [-1, 1]."""
    return -10 * torch.log10(mse / 4)
