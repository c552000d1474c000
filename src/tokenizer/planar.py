"""The autoencoder for training: the same function of the same weights, in fewer, faster kernels.

diffusers filters wavelets with grouped 3D convolutions and pads each convolution's input apart. All
its convolutions act on space or on time alone, so they are 2D ones on channels-last tensors, where
a frame's pixels or a pixel's frames are the rows; a Haar step is a sum and a difference.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# Axes of [clip, channel, frame, height, width].
TIME, HEIGHT, WIDTH = 2, 3, 4


def encode(
    autoencoder: Any, video: Float[Tensor, "clip 3 frame h w"]
) -> Float[Tensor, "clip channel latent_frame lh lw"]:
    """Raw latents of videos in [-1, 1], as diffusers' `AutoencoderKLCosmos` makes them.

    Args:
        autoencoder: one whose only attention is in its middle blocks, as all published ones are.
        video: 8k + 1 frames; height and width are multiples of 8.
    """
    encoder = autoencoder.encoder
    x = _projected(encoder.conv_in, analyse(video, encoder.patch_embed.patch_size))
    for block in encoder.down_blocks:
        for resnet in _resnets(block):
            x = _residual(resnet, x)
        for part in block.downsamplers or ():
            x = _downsampled(part, x)
    x = _middle(encoder.mid_block, x)
    x = _projected(encoder.conv_out, F.silu(_normalised(encoder.norm_out, x)))
    return _convolved(autoencoder.quant_conv, x)


def decode(
    autoencoder: Any, latent: Float[Tensor, "clip channel latent_frame lh lw"]
) -> Float[Tensor, "clip 3 frame h w"]:
    """Videos, about [-1, 1] and not clamped, of raw latents; float32 even under autocast."""
    decoder = autoencoder.decoder
    x = _projected(decoder.conv_in, _convolved(autoencoder.post_quant_conv, latent))
    x = _middle(decoder.mid_block, x)
    for block in decoder.up_blocks:
        for resnet in _resnets(block):
            x = _residual(resnet, x)
        for part in block.upsamplers or ():
            x = _upsampled(part, x)
    x = _projected(decoder.conv_out, F.silu(_normalised(decoder.norm_out, x)))
    return synthesise(x, decoder.unpatch_embed.patch_size)


def analyse(
    video: Float[Tensor, "clip c frame h w"], patch: int
) -> Float[Tensor, "clip bands latent_frame lh lw"]:
    """Haar coefficients of patches of `patch` frames, rows and columns; the first frame fills one.

    Bands are ordered by time, then height, then width, low before high.
    """
    first = video[:, :, :1].expand(-1, -1, patch - 1, -1, -1)
    x = torch.cat([first, video], dim=TIME).float()
    for _ in range(round(math.log2(patch))):
        # The axis that comes last is the slowest in the order of the bands.
        for axis in (WIDTH, HEIGHT, TIME):
            even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
            x = torch.cat([even + odd, even - odd], dim=1) / 2
    return x.contiguous(memory_format=torch.channels_last_3d)


def synthesise(
    bands: Float[Tensor, "clip bands latent_frame lh lw"], patch: int
) -> Float[Tensor, "clip c frame h w"]:
    """The inverse of `analyse`."""
    x = bands.float()
    for _ in range(round(math.log2(patch))):
        for axis in (TIME, HEIGHT, WIDTH):
            low, high = x.chunk(2, dim=1)
            x = torch.stack([low + high, low - high], dim=axis + 1).flatten(axis, axis + 1)
    return x[:, :, patch - 1 :]


def _resnets(block: Any) -> Any:
    """The residual blocks of an encoder's or decoder's stage."""
    assert all(attention is None for attention in block.attentions), "attention outside the middle"
    return block.resnets


def _convolved(
    conv: Any, x: Float[Tensor, "clip c frame h w"]
) -> Float[Tensor, "clip c_out frame_out h_out w_out"]:
    """A causal convolution: over each frame's pixels, or over each pixel's frames."""
    steps, rows, columns = conv.kernel_size
    weight, bias = conv.weight, conv.bias
    if steps == 1:
        flat = weight[:, :, 0].contiguous(memory_format=torch.channels_last)
        frames = x.transpose(1, 2).flatten(0, 1)
        out = F.conv2d(frames, flat, bias, conv.stride[1:], conv.spatial_pad[0])
        return out.unflatten(0, (x.shape[0], x.shape[TIME])).transpose(1, 2)
    assert rows == columns == 1, f"a convolution over space and time: {conv.kernel_size}"
    if conv.temporal_pad:
        before = x[:, :, :1].expand(-1, -1, conv.temporal_pad, -1, -1)
        x = torch.cat([before, x], dim=TIME)
    flat = weight[..., 0].contiguous(memory_format=torch.channels_last)
    out = F.conv2d(x.flatten(HEIGHT), flat, bias, (conv.stride[0], 1))
    return out.unflatten(HEIGHT, x.shape[HEIGHT:])


def _projected(
    part: Any, x: Float[Tensor, "clip c frame h w"]
) -> Float[Tensor, "clip _ frame h w"]:
    return _convolved(part.conv_t, _convolved(part.conv_s, x))


def _normalised(
    part: Any, x: Float[Tensor, "clip c frame h w"]
) -> Float[Tensor, "clip c frame h w"]:
    """Group norm of one group: over all numbers of a frame."""
    assert part.num_groups == 1, f"{part.num_groups} groups"
    last = x.permute(0, 2, 3, 4, 1)
    frames = last.reshape(last.shape[0], last.shape[1], -1)
    frames = F.layer_norm(frames, frames.shape[2:], eps=part.norm.eps)
    return (frames.view(last.shape) * part.norm.weight + part.norm.bias).permute(0, 4, 1, 2, 3)


def _residual(part: Any, x: Float[Tensor, "clip c frame h w"]) -> Float[Tensor, "clip _ frame h w"]:
    change = _projected(part.conv1, F.silu(_normalised(part.norm1, x)))
    change = _projected(part.conv2, F.silu(_normalised(part.norm2, change)))
    shortcut = part.conv_shortcut
    return change + (_convolved(shortcut, x) if hasattr(shortcut, "weight") else x)


def _middle(block: Any, x: Float[Tensor, "clip c frame h w"]) -> Float[Tensor, "clip c frame h w"]:
    """Residual blocks, between them attention over a frame's pixels and a pixel's past."""
    x = _residual(block.resnets[0], x)
    parts = zip(block.attentions, block.temp_attentions, block.resnets[1:], strict=True)
    for over_space, over_time, resnet in parts:
        x = _residual(resnet, _over_time(over_time, _over_space(over_space, x)))
    return x


def _over_space(
    part: Any, x: Float[Tensor, "clip c frame h w"]
) -> Float[Tensor, "clip c frame h w"]:
    rows = _normalised(part.norm, x).permute(0, 2, 3, 4, 1)
    mixed = _attended(part, rows.flatten(0, 1).flatten(1, 2), causal=False)
    return x + mixed.view(rows.shape).permute(0, 4, 1, 2, 3)


def _over_time(
    part: Any, x: Float[Tensor, "clip c frame h w"]
) -> Float[Tensor, "clip c frame h w"]:
    rows = _normalised(part.norm, x).permute(0, 3, 4, 2, 1)
    mixed = _attended(part, rows.flatten(0, 2), causal=True)
    return x + mixed.view(rows.shape).permute(0, 4, 3, 1, 2)


def _attended(
    part: Any, rows: Float[Tensor, "sequence token c"], causal: bool
) -> Float[Tensor, "sequence token c"]:
    heads = part.num_attention_heads
    q, k, v = (
        _mapped(layer, rows).unflatten(2, (heads, -1)).transpose(1, 2)
        for layer in (part.to_q, part.to_k, part.to_v)
    )
    mixed = F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    return _mapped(part.to_out[0], mixed.transpose(1, 2).flatten(2))


def _mapped(
    conv: Any, rows: Float[Tensor, "sequence token c"]
) -> Float[Tensor, "sequence token c"]:
    """A 1x1x1 convolution of tokens."""
    return F.linear(rows, conv.weight[:, :, 0, 0, 0], conv.bias)


def _downsampled(part: Any, x: Float[Tensor, "clip c frame h w"]) -> Float[Tensor, "clip c _ _ _"]:
    """Half as many rows and columns, and frames but the first: convolutions beside means."""
    if part.spatial_downsample:
        means = F.avg_pool2d(x.transpose(1, 2).flatten(0, 1), 2)
        means = means.unflatten(0, (x.shape[0], x.shape[TIME])).transpose(1, 2)
        x = _convolved(part.conv1, F.pad(x, (0, 1, 0, 1))) + means
    if part.temporal_downsample:
        x = torch.cat([x[:, :, :1], x], dim=TIME)
        x = _convolved(part.conv2, x) + (x[:, :, ::2] + x[:, :, 1::2]) / 2
    changed = part.spatial_downsample or part.temporal_downsample
    return _convolved(part.conv3, x) if changed else x


def _upsampled(part: Any, x: Float[Tensor, "clip c frame h w"]) -> Float[Tensor, "clip c _ _ _"]:
    """Twice as many rows and columns, and frames but the first: repeated, then convolved."""
    if part.temporal_upsample:
        if x.shape[TIME] > 1:
            x = x.repeat_interleave(2, dim=TIME)[:, :, 1:]
        x = _convolved(part.conv1, x) + x
    if part.spatial_upsample:
        x = x.repeat_interleave(2, dim=HEIGHT).repeat_interleave(2, dim=WIDTH)
        x = _convolved(part.conv2, x) + x
    changed = part.spatial_upsample or part.temporal_upsample
    return _convolved(part.conv3, x) if changed else x
