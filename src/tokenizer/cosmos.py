"""The causal video autoencoder: 8x8x8 compression, 16 channels.

A video is `[clip, 3, frame, height, width]` in [-1, 1] with 8k + 1 frames; a raw latent is
`[clip, channel, latent_frame, height/8, width/8]` with k + 1 latent frames.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from ..runtime import InputError
from . import planar
from .statistics import LatentStatistics

COMPRESSION = 8
# The pixels of short clips that go through the networks together, in the few kernels of
# `planar.py`. A full-size clip (109 million) goes alone through diffusers' own.
PIXELS_AT_ONCE = 1 << 24


def latent_frames(num_frames: int) -> int:
    """Number of latent frames of 8k + 1 frames; `InputError` for other numbers."""
    if num_frames < 1 or (num_frames - 1) % COMPRESSION:
        raise InputError("number of frames", num_frames, f"{COMPRESSION}k + 1")
    return (num_frames - 1) // COMPRESSION + 1


class VideoTokenizer(nn.Module):
    """Encodes videos to latents and decodes them; deterministic and causal in time."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        architecture: Mapping[str, object],
        mean: Float[Tensor, "channel latent_frame"],
        std: Float[Tensor, "channel latent_frame"],
    ) -> None:
        """An untrained tokenizer; `architecture` are the arguments of `AutoencoderKLCosmos`."""
        # On the CPU, even if this tokenizer is built on the meta device: the imported module keeps
        # the wavelets as tensors.
        with torch.device("cpu"):
            from diffusers import AutoencoderKLCosmos

        super().__init__()
        # Names with an underscore are diffusers' own bookkeeping.
        self.architecture = {k: v for k, v in architecture.items() if not k.startswith("_")}
        self.autoencoder = AutoencoderKLCosmos(**cast(Any, self.architecture))
        for half in (self.autoencoder.encoder, self.autoencoder.decoder):
            for attention in half.mid_block.attentions:
                setattr(attention, "processor", frame_attention)  # noqa: B010
        self.register_buffer("mean", mean.float(), persistent=False)
        self.register_buffer("std", std.float(), persistent=False)

    @property
    def dtype(self) -> torch.dtype:
        """The floating-point type of the convolutions."""
        return self.autoencoder.dtype

    def encode(
        self, video: Float[Tensor, "clip 3 frame h w"]
    ) -> Float[Tensor, "clip channel latent_frame lh lw"]:
        """Raw latents of videos in [-1, 1], in the tokenizer's dtype."""
        _, _, frames, height, width = video.shape
        latent_frames(frames)
        if height % COMPRESSION or width % COMPRESSION:
            raise InputError("video size", f"{height}x{width}", f"multiples of {COMPRESSION}")
        pixels = frames * height * width
        groups = video.split(clips_at_once(pixels))
        if pixels <= PIXELS_AT_ONCE:
            return torch.cat([planar.encode(self.autoencoder, group) for group in groups])
        encode = cast(Any, self.autoencoder.encode)
        return torch.cat([encode(group.to(self.dtype)).latent_dist.mode() for group in groups])

    def decode(
        self, latent: Float[Tensor, "clip channel latent_frame lh lw"]
    ) -> Float[Tensor, "clip 3 frame h w"]:
        """Videos, about [-1, 1] and not clamped, of raw latents."""
        pixels = latent[0, 0].numel() * COMPRESSION**3
        groups = [group.to(self.dtype) for group in latent.split(clips_at_once(pixels))]
        if pixels <= PIXELS_AT_ONCE:
            decoded = [planar.decode(self.autoencoder, group) for group in groups]
            return torch.cat(decoded).to(self.dtype)
        decode = cast(Any, self.autoencoder.decode)
        return torch.cat([decode(group).sample for group in groups])

    @property
    def statistics(self) -> LatentStatistics:
        """The statistics of raw latents, on the tokenizer's device."""
        return LatentStatistics(self.mean, self.std)


def clips_at_once(pixels: int) -> int:
    """The number of clips of `pixels` that go through the networks together."""
    return max(PIXELS_AT_ONCE // pixels, 1)


def frame_attention(
    attn: Any, hidden_states: Float[Tensor, "clip c frame h w"], attention_mask: object = None
) -> Float[Tensor, "clip c frame h w"]:
    """Attention over the pixels of each frame, as a processor of diffusers' attention module.

    diffusers gives PyTorch queries whose channels are not adjacent. Only the plain kernel takes
    them, with float32 scores of all frames: 25 GB for a full-size clip. Here channels are adjacent
    and frames go one by one; the arithmetic is the same.
    """
    assert attention_mask is None, "spatial attention takes no mask"
    normal, mixed = attn.norm(hidden_states), []
    parts = [part(normal).unbind(2) for part in (attn.to_q, attn.to_k, attn.to_v)]
    for frame in zip(*parts, strict=True):
        q, k, v = (
            part.flatten(2).unflatten(1, (attn.num_attention_heads, -1)).mT.contiguous()
            for part in frame
        )
        mixed.append(F.scaled_dot_product_attention(q, k, v).mT.flatten(1, 2))
    frames = torch.stack(mixed, dim=2).unflatten(3, hidden_states.shape[3:])
    return attn.to_out[1](attn.to_out[0](frames)) + hidden_states
