"""How a new tokenizer starts: all Haar bands equally loud, and residual branches at nothing.

The network sees a video as 192 Haar bands with standard deviations from 0.5 to 0.005. Their
statistics go into the first and the last convolution; architecture and files stay as they are.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...tokenizer import planar

# A band that is nearly always 0 would be blown up to noise.
LEAST_STD = 2e-3
# What the last convolution's own random numbers make of the bands' deviations.
DECODED_SHARE = 0.5


@dataclass(frozen=True)
class BandStatistics:
    """Mean and standard deviation of each Haar band of videos in [-1, 1]."""

    mean: Float[Tensor, " band"]
    std: Float[Tensor, " band"]


def band_statistics(videos: Iterable[Float[Tensor, "_ 3 frame h w"]], patch: int) -> BandStatistics:
    """The statistics of the bands of patches of `patch` frames, rows and columns.

    The first latent frame shows one frame repeated, without any motion: it counts only where
    there is no other.
    """
    total, squares, count = torch.zeros(()), torch.zeros(()), 0
    for video in videos:
        bands = planar.analyse(video, patch).double()
        bands = (bands[:, 1:] if bands.shape[1] > 1 else bands).flatten(0, 3)
        total = total.to(bands) + bands.sum(0)
        squares = squares.to(bands) + (bands * bands).sum(0)
        count += len(bands)
    assert count > 0, "statistics of no videos"
    mean = total / count
    std = (squares / count - mean * mean).clamp_min(LEAST_STD**2).sqrt()
    return BandStatistics(mean.float(), std.float())


@torch.no_grad()
def whiten_bands(autoencoder: Any, bands: BandStatistics) -> None:
    """Let the network see each band with mean 0 and deviation 1, and give it back as it is.

    The first convolution of the encoder takes `(band - mean) / std` for a band (but for the zeros
    around a picture), the last one of the decoder gives `DECODED_SHARE * std * band + mean`.
    """
    first = autoencoder.encoder.conv_in.conv_s
    first.weight /= bands.std[:, None, None, None].to(first.weight)
    shift = first.weight.sum(dim=(2, 3, 4)) @ bands.mean.to(first.weight)
    first.bias -= shift
    last = autoencoder.decoder.conv_out.conv_t
    scale = DECODED_SHARE * bands.std.to(last.weight)
    last.weight *= scale[:, None, None, None, None]
    last.bias.copy_(bands.mean)


@torch.no_grad()
def silence_branches(autoencoder: nn.Module) -> None:
    """Set the last layer of every residual block and of every attention to zero.

    What a branch adds is then nothing: the network begins as its path of shortcuts.
    """
    for name, layer in autoencoder.named_modules():
        last: Any = None
        if name.endswith(".conv2") and hasattr(layer, "conv_t"):
            last = layer.conv_t
        elif name.endswith(".to_out.0"):
            last = layer
        if last is not None:
            last.weight.zero_()
            last.bias.zero_()
