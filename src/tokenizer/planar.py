"""The autoencoder in fewer, faster kernels: the same function of the same weights as diffusers'.

diffusers filters wavelets with grouped 3D convolutions and pads inputs separately. Its convolutions
act on space or on time alone, so they are 2D ones here, and a Haar step is a sum and a difference.
Inside, the channels of a video come last: `[clip, frame, h, w, channel]`.

Nothing but the middle blocks looks further into the past than a convolution over three frames, so
a long clip may pass in pieces of a few frames, which take a fraction of the memory.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Axes of [clip, frame, height, width, channel].
TIME, HEIGHT, WIDTH = 1, 2, 3
# Frames of a latent frame; the first one has one.
FRAMES = 8
# PyTorch's attention on CUDA takes no more sequences in one call: the limit of a launch grid.
MAX_SEQUENCES = 65535


@dataclass
class Past:
    """The last inputs of each convolution over time, between the pieces of a clip."""

    frames: dict[int, Float[Tensor, "clip pad h w c"]] = field(default_factory=dict)
    begun: bool = False


def encode(
    autoencoder: Any, video: Float[Tensor, "clip 3 frame h w"], at_once: int = 0
) -> Float[Tensor, "clip channel latent_frame lh lw"]:
    """Raw latents of videos in [-1, 1], as of diffusers' `AutoencoderKLCosmos`.

    Videos have 8k + 1 frames, and heights and widths that are multiples of 8. The autoencoder has
    attention in its middle blocks only, as all published ones. With `at_once`, the large stages
    work on that many latent frames at a time.
    """
    encoder = autoencoder.encoder
    x = _middle(encoder.mid_block, torch.cat([*_shrunk(encoder, video, at_once)], dim=TIME))
    x = _projected(encoder.conv_out, F.silu(_normalised(encoder.norm_out, x)))
    return _convolved(autoencoder.quant_conv, x).movedim(-1, 1)


def decode(
    autoencoder: Any, latent: Float[Tensor, "clip channel latent_frame lh lw"], at_once: int = 0
) -> Float[Tensor, "clip 3 frame h w"]:
    """Videos, about [-1, 1] and not clamped, of raw latents; float32 even under autocast.

    `at_once` is as in `encode`; videos then have the type of the latents.
    """
    decoder = autoencoder.decoder
    x = _convolved(autoencoder.post_quant_conv, latent.movedim(1, -1))
    x = _middle(decoder.mid_block, _projected(decoder.conv_in, x))
    if not at_once:
        return _grown(decoder, x, None)
    past = Past()
    parts = [_grown(decoder, part, past).to(latent.dtype) for part in x.split(at_once, dim=TIME)]
    return torch.cat(parts, dim=2)


def _shrunk(
    encoder: Any, video: Float[Tensor, "clip 3 frame h w"], at_once: int
) -> Iterator[Float[Tensor, "clip part lh lw c"]]:
    """Yield the results of the wavelets and the stages before the middle, piece by piece."""
    past, total, start = Past() if at_once else None, video.shape[2], 0
    while start < total:
        # The first latent frame has one frame only.
        end = FRAMES * at_once + (start or 1 - FRAMES) if at_once else total
        bands = analyse(video[:, :, start:end], encoder.patch_embed.patch_size, start == 0)
        # The networks' type; under autocast the convolutions choose another.
        x = _projected(encoder.conv_in, bands.to(encoder.conv_in.conv_s.weight.dtype), past)
        for block in encoder.down_blocks:
            for resnet in _resnets(block):
                x = _residual(resnet, x, past)
            for part in block.downsamplers or ():
                x = _downsampled(part, x, past)
        if past is not None:
            past.begun = True
        yield x
        start = end


def _grown(
    decoder: Any, x: Float[Tensor, "clip latent_frame lh lw c"], past: Past | None
) -> Float[Tensor, "clip 3 frame h w"]:
    """The decoder's stages behind the middle and wavelets, of a clip or of its next piece."""
    for block in decoder.up_blocks:
        for resnet in _resnets(block):
            x = _residual(resnet, x, past)
        for part in block.upsamplers or ():
            x = _upsampled(part, x, past)
    x = _projected(decoder.conv_out, F.silu(_normalised(decoder.norm_out, x)), past)
    video = synthesise(x, decoder.unpatch_embed.patch_size, _begins(past))
    if past is not None:
        past.begun = True
    return video


def _begins(past: Past | None) -> bool:
    """Whether this is the whole clip or its first piece."""
    return past is None or not past.begun


def analyse(
    video: Float[Tensor, "clip c frame h w"], patch: int, begins: bool = True
) -> Float[Tensor, "clip latent_frame lh lw bands"]:
    """Haar coefficients of patches of `patch` frames, rows and columns.

    The first frame of a clip, with which `video` `begins`, fills a patch. Bands are ordered by
    time, then height, then width, low before high.
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


def _resnets(block: Any) -> Any:
    """The residual blocks of an encoder's or decoder's stage."""
    assert all(attention is None for attention in block.attentions), "attention outside the middle"
    return block.resnets


def _convolved(
    conv: Any, x: Float[Tensor, "clip frame h w c"], past: Past | None = None
) -> Float[Tensor, "clip frame_out h_out w_out c_out"]:
    """A causal convolution: over each frame's pixels, or over each pixel's frames."""
    steps, rows, columns = conv.kernel_size
    if steps == rows == columns == 1:
        return F.linear(x, conv.weight[:, :, 0, 0, 0], conv.bias)
    if steps == 1:
        weight = conv.weight[:, :, 0].contiguous(memory_format=torch.channels_last)
        frames = x.flatten(0, 1).permute(0, 3, 1, 2)
        out = F.conv2d(frames, weight, conv.bias, conv.stride[1:], conv.spatial_pad[0])
        return out.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])
    assert rows == columns == 1, f"a convolution over space and time: {conv.kernel_size}"
    before = None if past is None else past.frames.get(id(conv))
    if before is None:
        before = x[:, :1].expand(-1, conv.temporal_pad, -1, -1, -1)
    x = torch.cat([before, x], dim=TIME)
    if past is not None:
        # A copy: a view would keep all frames of the piece.
        past.frames[id(conv)] = x[:, -conv.temporal_pad :].clone()
    weight = conv.weight[..., 0].contiguous(memory_format=torch.channels_last)
    pixels = x.flatten(HEIGHT, WIDTH).permute(0, 3, 1, 2)
    out = F.conv2d(pixels, weight, conv.bias, (conv.stride[0], 1))
    return out.permute(0, 2, 3, 1).unflatten(HEIGHT, x.shape[HEIGHT:-1])


def _projected(
    part: Any, x: Float[Tensor, "clip frame h w c"], past: Past | None = None
) -> Float[Tensor, "clip _ h w _"]:
    return _convolved(part.conv_t, _convolved(part.conv_s, x), past)


def _normalised(
    part: Any, x: Float[Tensor, "clip frame h w c"]
) -> Float[Tensor, "clip frame h w c"]:
    """Group norm with one group: over all numbers of a frame."""
    assert part.num_groups == 1, f"{part.num_groups} groups"
    frames = x.flatten(HEIGHT)
    frames = F.layer_norm(frames, frames.shape[2:], eps=part.norm.eps)
    return frames.view(x.shape) * part.norm.weight + part.norm.bias


def _residual(
    part: Any, x: Float[Tensor, "clip frame h w c"], past: Past | None = None
) -> Float[Tensor, "clip _ h w _"]:
    change = _projected(part.conv1, F.silu(_normalised(part.norm1, x)), past)
    change = _projected(part.conv2, F.silu(_normalised(part.norm2, change)), past)
    shortcut = part.conv_shortcut
    return change + (_convolved(shortcut, x) if hasattr(shortcut, "weight") else x)


def _middle(block: Any, x: Float[Tensor, "clip frame h w c"]) -> Float[Tensor, "clip frame h w c"]:
    """Residual blocks with attention between them, over a frame's pixels and a pixel's past."""
    x = _residual(block.resnets[0], x)
    parts = zip(block.attentions, block.temp_attentions, block.resnets[1:], strict=True)
    for over_space, over_time, resnet in parts:
        rows = _normalised(over_space.norm, x)
        mixed = _attended(over_space, rows.flatten(0, 1).flatten(1, 2), causal=False)
        x = x + mixed.view(x.shape)
        rows = _normalised(over_time.norm, x).permute(0, 2, 3, 1, 4)
        mixed = _attended(over_time, rows.flatten(0, 2), causal=True)
        x = _residual(resnet, x + mixed.view(rows.shape).permute(0, 3, 1, 2, 4))
    return x


def _attended(
    part: Any, rows: Float[Tensor, "sequence token c"], causal: bool
) -> Float[Tensor, "sequence token c"]:
    heads = part.num_attention_heads
    parts = (
        F.linear(rows, layer.weight[:, :, 0, 0, 0], layer.bias)
        .unflatten(2, (heads, -1))
        .transpose(1, 2)
        .split(MAX_SEQUENCES)
        for layer in (part.to_q, part.to_k, part.to_v)
    )
    mixed = torch.cat(
        [
            F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)
            for q, k, v in zip(*parts, strict=True)
        ]
    )
    return F.linear(mixed, part.to_out[0].weight[:, :, 0, 0, 0], part.to_out[0].bias)


def _downsampled(
    part: Any, x: Float[Tensor, "clip frame h w c"], past: Past | None
) -> Float[Tensor, "clip _ _ _ c"]:
    """Half the rows and columns, and frames but the first: convolutions plus means."""
    if part.spatial_downsample:
        means = x.unflatten(WIDTH, (-1, 2)).unflatten(HEIGHT, (-1, 2)).mean(dim=(3, 5))
        x = _convolved(part.conv1, F.pad(x, (0, 0, 0, 1, 0, 1))) + means
    if part.temporal_downsample:
        if _begins(past):
            x = torch.cat([x[:, :1], x], dim=TIME)
        x = _convolved(part.conv2, x, past) + (x[:, ::2] + x[:, 1::2]) / 2
    changed = part.spatial_downsample or part.temporal_downsample
    return _convolved(part.conv3, x) if changed else x


def _upsampled(
    part: Any, x: Float[Tensor, "clip frame h w c"], past: Past | None
) -> Float[Tensor, "clip _ _ _ c"]:
    """Twice the rows and columns, and frames but the first: repeated, then convolved."""
    if part.temporal_upsample:
        x = _repeated(x, TIME)[:, 1 if _begins(past) else 0 :]
        x = _convolved(part.conv1, x, past) + x
    if part.spatial_upsample:
        x = _repeated(_repeated(x, HEIGHT), WIDTH)
        x = _convolved(part.conv2, x) + x
    changed = part.spatial_upsample or part.temporal_upsample
    return _convolved(part.conv3, x) if changed else x


def _repeated(x: Float[Tensor, "clip frame h w c"], axis: int) -> Float[Tensor, "clip _ _ _ c"]:
    return torch.stack([x, x], dim=axis + 1).flatten(axis, axis + 1)
