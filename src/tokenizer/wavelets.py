"""Haar wavelets of videos: patches of 2^n frames, rows and columns become channels, and back.

Bands come last, `[clip, latent_frame, h, w, band]`; they are ordered by time, then height, then
width, low before high. A Haar step is a sum and a difference.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

# Axes of [clip, frame, height, width, channel].
TIME, HEIGHT, WIDTH = 1, 2, 3


def analyse(
    video: Float[Tensor, "clip c frame h w"], patch: int, begins: bool = True
) -> Float[Tensor, "clip latent_frame lh lw bands"]:
    """Haar coefficients of patches of `patch` frames, rows and columns.

    The first frame of a clip, with which `video` `begins`, fills a patch.
    """
    x = video.float().movedim(1, -1)
    if begins:
        x = torch.cat([x[:, :1].expand(-1, patch - 1, -1, -1, -1), x], dim=TIME)
    for _ in range(round(math.log2(patch))):
        # The axis that comes last is the slowest in the order of the bands.
        for axis in (WIDTH, HEIGHT, TIME):
            even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
            x = torch.cat([even + odd, even - odd], dim=-1) / 2
    return x


def synthesise(
    bands: Float[Tensor, "clip latent_frame lh lw bands"], patch: int, begins: bool = True
) -> Float[Tensor, "clip c frame h w"]:
    """The inverse of `analyse`."""
    x = bands.float()
    for _ in range(round(math.log2(patch))):
        for axis in (TIME, HEIGHT, WIDTH):
            low, high = x.chunk(2, dim=-1)
            x = torch.stack([low + high, low - high], dim=axis + 1).flatten(axis, axis + 1)
    return x[:, patch - 1 if begins else 0 :].movedim(-1, 1)
