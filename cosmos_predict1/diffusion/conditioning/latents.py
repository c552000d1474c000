"""What the diffusion model is told beside the noise: warps with their masks, and the first frame.

Latents here are normalised ones, `[1, channel, latent_frame, lh, lw]`; an encoder makes one of a
video `[1, 3, frame, h, w]` in [-1, 1]. A buffer is one source of warps (see `cache.py`).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from src.runtime import InputError
from src.tokenizer.cosmos import VideoTokenizer

from .cache import Warps

Encode = Callable[[Tensor], Tensor]
# How bytes become the first frame's values; the original divides by 128 there, which leaves white
# at 0.992, and by 127.5 in the warps.
SCALINGS = {"published": 128.0, "consistent": 127.5}


def latent_encoder(tokenizer: VideoTokenizer) -> Encode:
    """The encoder of videos to normalised latents that this module works with."""

    def encode(video: Tensor) -> Tensor:
        """Normalised latents of a video."""
        return tokenizer.normalise(tokenizer.encode(video))

    return encode


def condition_latents(
    encode: Encode, warps: Warps, max_buffers: int = 2
) -> Float[Tensor, "1 warp_channel latent_frame lh lw"]:
    """Latents of warps and masks, buffer by buffer; those of missing buffers are zeros.

    A mask is encoded as a grey video, 1 where a pixel is known and -1 in holes. One video at a time
    is made and encoded, which at full size is 1.3 GB.
    """
    buffers = len(warps.image)
    if buffers > max_buffers:
        raise InputError("buffers of warps", buffers, f"at most {max_buffers}")
    parts = []
    for image, mask in zip(warps.image, warps.mask, strict=True):
        parts.append(encode(image.transpose(0, 1)[None].contiguous()))
        parts.append(encode(mask_video(mask[None], image.dtype)))
    latents = torch.cat(parts, dim=1)
    # Zeros and not the encoding of a black video, as published.
    missing = (max_buffers - buffers) * (latents.shape[1] // buffers)
    return F.pad(latents, (0, 0, 0, 0, 0, 0, 0, missing))


def condition_mask(
    latents: Float[Tensor, "clip warp_channel latent_frame lh lw"], given: int = 1
) -> Float[Tensor, "clip 1 latent_frame lh lw"]:
    """1 on the first `given` latent frames, which are not denoised, and 0 on the others."""
    mask = torch.zeros_like(latents[:, :1])
    mask[:, :, :given] = 1
    return mask


def mask_video(
    mask: Bool[Tensor, "clip frame h w"], dtype: torch.dtype
) -> Float[Tensor, "clip 3 frame h w"]:
    """Masks as videos to encode: 1 where they are true and -1 elsewhere, in all three colours."""
    return (2 * mask.to(dtype) - 1)[:, None].expand(-1, 3, -1, -1, -1)


def first_frame_image(
    image: UInt8[Tensor, "h w 3"],
    height: int,
    width: int,
    scaling: Literal["published", "consistent"] = "published",
) -> Float[Tensor, "3 {height} {width}"]:
    """The picture that becomes the first frame, stretched to `height` x `width`.

    Bicubic with antialiasing; overshoots beyond [-1, 1] stay, as published. `scaling` is that of
    the weights: `published` is `x / 128 - 1`, `consistent` is `x / 127.5 - 1`, as for the warps.
    """
    # x / 128 - 1 is exact in bfloat16, so rounding to it before the resize would change nothing.
    values = image.permute(2, 0, 1).float() / SCALINGS[scaling] - 1
    resized = F.interpolate(values[None], (height, width), mode="bicubic", antialias=True)
    return resized[0]


def first_frame_latent(
    encode: Encode, frame: Float[Tensor, "3 h w"]
) -> Float[Tensor, "1 channel 1 lh lw"]:
    """The latent of a clip's first frame, in [-1, 1].

    The encoder is causal: what follows the frame in its clip does not matter, so it goes alone.
    """
    return encode(frame[None, :, None])


def augment_warps(warps: Warps, strength: float, generator: torch.Generator) -> Warps:
    """Warps with Gaussian noise of deviation `strength (buffers - 1 - k)` on buffer k.

    The oldest buffer, the original picture, stays clean, and so does a single one.
    """
    if not strength >= 0:
        raise InputError("noise_aug_strength", strength, "a number >= 0")
    buffers = len(warps.image)
    if strength == 0 or buffers == 1:
        return warps
    noisy = warps.image.clone()
    for index in range(buffers - 1):
        picture = noisy[index]
        noise = torch.randn(
            picture.shape, generator=generator, device=picture.device, dtype=picture.dtype
        )
        picture += strength * (buffers - 1 - index) * noise
    return replace(warps, image=noisy)
