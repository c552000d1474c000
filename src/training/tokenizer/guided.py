"""The guided start: a new tokenizer begins near the linear code of its videos.

Without it a network learns the modes of the code one after the other, with a plateau before each:
random residual branches and bands of unequal variance hide the modes of small variance. The input
of the network is 192 Haar bands of a video with standard deviations from 0.5 to 0.005. Their
statistics go into the first and the last convolution; architecture and files do not change.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ...tokenizer.cosmos import COMPRESSION, Moments, moments
from ...tokenizer.network import Autoencoder
from ...tokenizer.wavelets import analyse
from ..settings import check_least, check_shares

# Bounds the amplification of bands that are nearly always 0.
LEAST_BAND_STD = 2e-3
# Deviation of a decoded band before training, as a share of the band's.
DECODED_SHARE = 0.5
# Bounds the division by a component that never changes.
LEAST_CODE_STD = 1e-4


@dataclass(frozen=True)
class LinearCode:
    """A linear code of videos in [-1, 1]: the principal components of blocks, of deviation 1.

    A block is 8x8 pixels of the first frame, or of the mean of each eight frames after it: as many
    blocks as there are latent positions. The code has their mean, their first principal directions
    (orthonormal columns) and their deviations.
    """

    mean: Float[Tensor, " pixel"]
    basis: Float[Tensor, "pixel component"]
    std: Float[Tensor, " component"]

    def encode(
        self, video: Float[Tensor, "clip 3 frame h w"]
    ) -> Float[Tensor, "clip component latent_frame lh lw"]:
        """Returns the whitened components of every block, in the layout of latents."""
        # In float32 under autocast too.
        with torch.autocast(video.device.type, enabled=False):
            code = (video_blocks(video.float()) - self.mean) @ self.basis / self.std
        return code.movedim(-1, 1)


def video_blocks(
    video: Float[Tensor, "clip 3 frame h w"],
) -> Float[Tensor, "clip latent_frame lh lw pixel"]:
    """Returns the blocks of videos of 8k + 1 frames; pixels are ordered by colour, row, column."""
    later = video[:, :, 1:].unflatten(2, (-1, COMPRESSION)).mean(3)
    frames = torch.cat([video[:, :, :1], later], dim=2)
    blocks = frames.unflatten(3, (-1, COMPRESSION)).unflatten(5, (-1, COMPRESSION))
    return blocks.permute(0, 2, 3, 5, 1, 4, 6).flatten(4)


def fit_code(videos: Iterable[Float[Tensor, "_ 3 frame h w"]], components: int) -> LinearCode:
    """Returns the code that explains the most variance of the blocks of `videos`.

    The largest entry of each direction is positive, so that its sign is unique.
    """
    total, products, count = torch.zeros(()), torch.zeros(()), 0
    for video in videos:
        blocks = video_blocks(video).flatten(0, 3).double()
        total = total.to(blocks) + blocks.sum(0)
        products = products.to(blocks) + blocks.mT @ blocks
        count += len(blocks)
    assert count > 0, "a code of no videos"
    # On the CPU the result is the same for every device.
    mean, products = (total / count).cpu(), (products / count).cpu()
    values, vectors = torch.linalg.eigh(products - torch.outer(mean, mean))
    basis, variance = vectors[:, -components:].flip(1), values[-components:].flip(0)
    largest = basis.gather(0, basis.abs().argmax(0, keepdim=True))
    basis = basis * largest.sign()
    std = variance.clamp_min(LEAST_CODE_STD**2).sqrt()
    mean, basis, std = (part.float().to(total.device) for part in (mean, basis, std))
    return LinearCode(mean, basis.contiguous(), std)


def guidance_loss(
    latent: Float[Tensor, "clip component latent_frame lh lw"],
    video: Float[Tensor, "clip 3 frame h w"],
    code: LinearCode,
) -> Float[Tensor, ""]:
    """Returns the mean squared difference between latents and the linear code of their videos."""
    difference = latent.float() - code.encode(video)
    return (difference * difference).mean()


@dataclass(kw_only=True)
class GuidedStartConfig:
    """The start of a new network.

    Attributes:
        enabled: Whiten the bands, zero the residual branches, guide the latents by a loss.
        share: Share of the run over which the weight of the guidance loss falls from 1 to 0.
        clips: Training clips on which bands and code are measured.
    """

    enabled: bool = False
    share: float = 0.4
    clips: int = 320

    def __post_init__(self) -> None:
        check_shares("guided", self, "share")
        check_least("guided", self, {"clips": 1})

    def weight(self, progress: float) -> float:
        """Returns the weight of the guidance loss at a progress in [0, 1]."""
        if not self.enabled or not self.share:
            return 0.0
        return max(0.0, 1 - progress / self.share)


def guide_start(
    autoencoder: Autoencoder, videos: Callable[[], Iterable[Tensor]], components: int
) -> LinearCode:
    """Whiten a new network's bands and zero its branches; returns the target code of its latents.

    The autoencoder is changed in place. `videos` gives the same training videos in [-1, 1] whenever
    it is called; `components` are the channels of a latent.
    """
    patch = autoencoder.encoder.patch_size
    whiten_bands(autoencoder, band_statistics(videos(), patch))
    silence_branches(autoencoder)
    return fit_code(videos(), components)


def band_statistics(videos: Iterable[Float[Tensor, "_ 3 frame h w"]], patch: int) -> Moments:
    """Returns mean and deviation of the bands of patches of `patch` frames, rows and columns.

    The first latent frame is one repeated frame, without motion: it counts only if it is alone.
    """
    bands = (analyse(video, patch) for video in videos)
    moving = (part[:, 1:] if part.shape[1] > 1 else part for part in bands)
    return moments((part.flatten(0, 3) for part in moving), (0,), LEAST_BAND_STD)


@torch.no_grad()
def whiten_bands(autoencoder: Autoencoder, bands: Moments) -> None:
    """Fold the whitening of the bands into the network, and its inverse into the decoder.

    The first convolution of the encoder gets `(band - mean) / std` for a band (except for the zeros
    around a picture), the last one of the decoder returns `DECODED_SHARE * std * band + mean`.
    """
    first, last = autoencoder.encoder.conv_in.conv_s, autoencoder.decoder.conv_out.conv_t
    assert first.bias is not None and last.bias is not None, "convolutions without a bias"
    first.weight /= bands.std[:, None, None, None].to(first.weight)
    shift = first.weight.sum(dim=(2, 3, 4)) @ bands.mean.to(first.weight)
    first.bias -= shift
    scale = DECODED_SHARE * bands.std.to(last.weight)
    last.weight *= scale[:, None, None, None, None]
    last.bias.copy_(bands.mean)


@torch.no_grad()
def silence_branches(autoencoder: nn.Module) -> None:
    """Set the last layer of every residual block and every attention to zero.

    The branches then add nothing: the network begins as its path of shortcuts.
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
