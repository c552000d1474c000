"""Latent clips as tokens: non-overlapping 1 x patch x patch patches, a linear map, a LayerNorm.

Tokens of a clip are ordered (latent frame, row, column).
"""

import math

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn


class PatchEmbed(nn.Module):
    """Patches of a latent clip -> tokens of the model's width."""

    def __init__(self, channels: int, width: int, patch: int, zero: bool = False) -> None:
        super().__init__()
        kernel = (1, patch, patch)
        # Holds the published names and shapes; as patches don't overlap, a matrix product does it.
        self.proj = nn.Conv3d(channels, width, kernel, stride=kernel)
        self.norm = nn.LayerNorm(width, eps=1e-5)
        self.patch = patch
        # A zero map plus a LayerNorm of bias 0 adds nothing: such an input is learned from nothing.
        std = 0.0 if zero else math.sqrt(2 / (patch * patch * width))
        nn.init.normal_(self.proj.weight, std=std)
        assert self.proj.bias is not None
        nn.init.zeros_(self.proj.bias)

    def forward(
        self, clip: Float[Tensor, "clip latent_frame channel h w"]
    ) -> Float[Tensor, "clip token width"]:
        """Tokens of each clip; `h` and `w` must be multiples of the patch."""
        height, width = clip.shape[-2:]
        assert height % self.patch == 0 and width % self.patch == 0, f"{height}x{width} latents"
        p = self.patch
        patches = rearrange(clip, "n t c (i p) (j q) -> n (t i j) (c p q)", p=p, q=p)
        weight = self.proj.weight.flatten(1)
        return self.norm(F.linear(patches.to(weight.dtype), weight, self.proj.bias))
