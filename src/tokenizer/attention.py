"""Spatial attention of the autoencoder's middle blocks, in little memory.

diffusers gives PyTorch queries whose channels are not adjacent. Only the plain kernel takes them,
with float32 scores of all frames: 25 GB for a full-size clip. Here channels are adjacent and frames
go one by one; the arithmetic is the same.
"""

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn


class FrameAttention:
    """Attention over the pixels of each frame, as a processor of diffusers' attention module."""

    def __call__(
        self,
        attn: Any,
        hidden_states: Float[Tensor, "clip c frame h w"],
        attention_mask: Tensor | None = None,
    ) -> Float[Tensor, "clip c frame h w"]:
        """The output of diffusers' attention module `attn`, plus its input; without a mask."""
        assert attention_mask is None, "spatial attention takes no mask"
        normal = attn.norm(hidden_states)
        query, key, value = attn.to_q(normal), attn.to_k(normal), attn.to_v(normal)
        heads = attn.num_attention_heads
        frames = [
            _attend(query[:, :, index], key[:, :, index], value[:, :, index], heads=heads)
            for index in range(hidden_states.shape[2])
        ]
        mixed = attn.to_out[1](attn.to_out[0](torch.stack(frames, dim=2)))
        return mixed + hidden_states


def install_frame_attention(autoencoder: nn.Module) -> None:
    """Use `FrameAttention` in both middle blocks of a diffusers `AutoencoderKLCosmos`."""
    for part in (autoencoder.get_submodule("encoder"), autoencoder.get_submodule("decoder")):
        for attention in part.get_submodule("mid_block.attentions").children():
            setattr(attention, "processor", FrameAttention())  # noqa: B010


def _attend(
    query: Float[Tensor, "clip c h w"],
    key: Float[Tensor, "clip c h w"],
    value: Float[Tensor, "clip c h w"],
    heads: int,
) -> Float[Tensor, "clip c h w"]:
    q, k, v = (
        part.flatten(2).unflatten(1, (heads, -1)).transpose(-1, -2).contiguous()
        for part in (query, key, value)
    )
    mixed = F.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(-1, -2).flatten(1, 2).unflatten(2, query.shape[2:])
