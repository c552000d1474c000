"""Conditions of the diffusion model: text, given frames, frame rate, and the latents of warps.

Latents of an encoder are normalised, `[clip, channel, latent_frame, lh, lw]`; it makes one of a
video `[clip, 3, frame, h, w]` in [-1, 1]. A buffer is one source of warps (see `cache.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from src.runtime import InputError
from src.tokenizer.cosmos import VideoTokenizer

from .cache import Warps


@dataclass(frozen=True)
class Conditions:
    """The network's conditions for a batch of noisy latents.

    `text` rows beyond a prompt's length are zero and take part in the attention, as published.
    `padding` may have any size and is resized to the latent's; None means no padding.
    """

    text: Float[Tensor, "batch text_token context"]
    mask: Float[Tensor, "batch 1 latent_frame lh lw"]
    warps: Float[Tensor, "batch warp_channel latent_frame lh lw"]
    fps: float = 24.0
    padding: Float[Tensor, "batch 1 ph pw"] | None = None

    def unconditional(
        self, negative_text: Float[Tensor, "batch text_token context"]
    ) -> "Conditions":
        """The branch to guide away from: another text, no warps, the same given frames."""
        return replace(self, text=negative_text, warps=torch.zeros_like(self.warps))

    def stacked(self, other: "Conditions") -> "Conditions":
        """Both as one batch, `other` last."""
        assert self.fps == other.fps, f"{self.fps} and {other.fps} fps in one batch"
        assert (self.padding is None) == (other.padding is None), "padding in one branch only"
        padding = None
        if self.padding is not None and other.padding is not None:
            padding = torch.cat([self.padding, other.padding])
        return replace(
            self,
            text=torch.cat([self.text, other.text]),
            mask=torch.cat([self.mask, other.mask]),
            warps=torch.cat([self.warps, other.warps]),
            padding=padding,
        )


@dataclass(frozen=True)
class Prepared:
    """Conditions in the network's type, with the tables that all sampling steps share.

    The patch embedding of `channels` and the keys and values of `text` would be shared too. They
    are 0.02 % of a forward at full size and would hold 1.4 GB, so each step computes them.
    """

    text: Float[Tensor, "batch text_token context"]
    channels: Float[Tensor, "batch channel latent_frame lh lw"]
    cos: Float[Tensor, "token head_dim"]
    sin: Float[Tensor, "token head_dim"]
    position: Float[Tensor, "1 token width"]

    def chunk(self, parts: int) -> list["Prepared"]:
        """The batch in equal parts, which share the tables."""
        pairs = zip(self.text.chunk(parts), self.channels.chunk(parts), strict=True)
        return [replace(self, text=text, channels=channels) for text, channels in pairs]


Encode = Callable[[Tensor], Tensor]
# Divisors of the first frame's bytes. The published program divides by 128 here, which leaves white
# at 0.992, and by 127.5 in the warps.
SCALINGS = {"published": 128.0, "consistent": 127.5}


def latent_encoder(tokenizer: VideoTokenizer) -> Encode:
    """Returns the encoder of videos to normalised latents."""
    return lambda video: tokenizer.statistics.normalise(tokenizer.encode(video))


def condition_latents(
    encode: Encode, warps: Warps, max_buffers: int = 2
) -> Float[Tensor, "1 warp_channel latent_frame lh lw"]:
    """Returns the latents of one clip's warps and masks, buffer by buffer."""
    buffers = len(warps.image)
    if buffers > max_buffers:
        raise InputError("buffers of warps", buffers, f"at most {max_buffers}")
    parts = [
        buffer_latents(encode, image[None], mask[None])
        for image, mask in zip(warps.image, warps.mask, strict=True)
    ]
    return pad_buffers(torch.cat(parts, dim=1), max_buffers * parts[0].shape[1])


def buffer_latents(
    encode: Encode, image: Float[Tensor, "clip frame 3 h w"], mask: Bool[Tensor, "clip frame h w"]
) -> Float[Tensor, "clip buffer_channel latent_frame lh lw"]:
    """Returns the latents of one buffer's warps, followed by those of its masks.

    One video exists at a time, which at full size is 1.3 GB.
    """
    seen = encode(image.transpose(1, 2).contiguous())
    return torch.cat([seen, encode(mask_video(mask, image.dtype))], dim=1)


def pad_buffers(
    latents: Float[Tensor, "clip channel latent_frame lh lw"], warp_channels: int
) -> Float[Tensor, "clip {warp_channels} latent_frame lh lw"]:
    """Append zeros for missing buffers, as published; not the encoding of a black video."""
    return F.pad(latents, (0, 0, 0, 0, 0, 0, 0, warp_channels - latents.shape[1]))


def condition_mask(
    latents: Float[Tensor, "clip warp_channel latent_frame lh lw"], given: int = 1
) -> Float[Tensor, "clip 1 latent_frame lh lw"]:
    """Returns 1 on the first `given` latent frames, which are not denoised, and 0 elsewhere."""
    mask = torch.zeros_like(latents[:, :1])
    mask[:, :, :given] = 1
    return mask


def mask_video(
    mask: Bool[Tensor, "clip frame h w"], dtype: torch.dtype
) -> Float[Tensor, "clip 3 frame h w"]:
    """Returns masks as grey videos: 1 where a pixel is known, -1 in holes."""
    return (2 * mask.to(dtype) - 1)[:, None].expand(-1, 3, -1, -1, -1)


def first_frame_image(
    image: UInt8[Tensor, "h w 3"],
    height: int,
    width: int,
    scaling: Literal["published", "consistent"] = "published",
) -> Float[Tensor, "3 {height} {width}"]:
    """Returns the picture that becomes the first frame, stretched to `height` x `width`.

    `scaling` is that of the weights: `published` is `x / 128 - 1`, `consistent` is `x / 127.5 - 1`
    as in the warps.
    """
    # Not `Fit.resize`, which rounds to bytes: the published resize is bicubic with antialiasing on
    # floats, and keeps overshoots beyond [-1, 1]. Its rounding to bfloat16 changes nothing, because
    # x / 128 - 1 is exact there.
    values = image.permute(2, 0, 1).float() / SCALINGS[scaling] - 1
    return F.interpolate(values[None], (height, width), mode="bicubic", antialias=True)[0]


def first_frame_latent(
    encode: Encode, frame: Float[Tensor, "3 h w"]
) -> Float[Tensor, "1 channel 1 lh lw"]:
    """Returns the latent of a clip's first frame, in [-1, 1].

    The frame is encoded alone: the encoder is causal, so the rest of the clip does not matter.
    """
    return encode(frame[None, :, None])


def augment_warps(warps: Warps, strength: float, generator: torch.Generator) -> Warps:
    """Add Gaussian noise of deviation `strength (buffers - 1 - k)` to buffer k.

    The oldest buffer, the original picture, stays clean, and so does a single one.
    """
    if not strength >= 0:
        raise InputError("noise_aug_strength", strength, "a number >= 0")
    buffers = len(warps.image)
    if strength == 0 or buffers == 1:
        return warps
    noisy = warps.image.clone()
    for index, picture in enumerate(noisy[:-1]):
        noise = torch.randn(
            picture.shape, generator=generator, device=picture.device, dtype=picture.dtype
        )
        picture += strength * (buffers - 1 - index) * noise
    return replace(warps, image=noisy)
