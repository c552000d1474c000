"""A linear code of videos: the principal components of 8x8 blocks, each of deviation 1.

A block is 8x8 pixels of the first frame, or of the mean of each eight frames after it: as many
blocks as there are latent positions. Videos are in [-1, 1].
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ...tokenizer.cosmos import COMPRESSION

# Bounds the division by a component that never changes.
LEAST_STD = 1e-4


@dataclass(frozen=True)
class LinearCode:
    """The mean of blocks, their first principal directions (orthonormal columns), deviations."""

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

    def decode(
        self, code: Float[Tensor, "clip component latent_frame lh lw"]
    ) -> Float[Tensor, "clip latent_frame lh lw pixel"]:
        """Returns the blocks of a code."""
        return (code.movedim(1, -1) * self.std) @ self.basis.mT + self.mean


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
    std = variance.clamp_min(LEAST_STD**2).sqrt()
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
