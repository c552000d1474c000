"""Triton kernels of the functions in `scan/seam.py`, one pass over memory each; no backward."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from .jit import kernel, tl

CONV_ROWS, CONV_COLUMNS = 32, 128


class Strided(NamedTuple):
    """A tensor `[batch, length, channel]`, and how far its items and its tokens lie apart."""

    data: tl.tensor
    batch: tl.tensor
    step: tl.tensor


class ChannelFilter(NamedTuple):
    """Weights, `[channel, 1, TAPS]`, and bias of a depthwise convolution."""

    weight: tl.tensor
    bias: tl.tensor
    TAPS: tl.constexpr


def causal_conv(
    sequence: Float[Tensor, "batch length channel"],
    weight: Float[Tensor, "channel 1 tap"],
    bias: Float[Tensor, " channel"],
    reverse: bool,
) -> Float[Tensor, "batch length channel"]:
    """Computes `mixing.causal_conv`, summed in float32."""
    batch, length, channels = sequence.shape
    assert sequence.stride(-1) == 1, f"contiguous rows expected, got {sequence.stride()}"
    out = torch.empty(sequence.shape, dtype=sequence.dtype, device=sequence.device)
    grid = (-(-channels // CONV_COLUMNS), -(-length // CONV_ROWS), batch)
    with torch.cuda.device_of(sequence):
        _conv[grid](
            Strided(sequence, sequence.stride(0), sequence.stride(1)),
            ChannelFilter(weight.contiguous(), bias, tl.constexpr(weight.shape[-1])),
            out,
            length,
            channels,
            REVERSE=reverse,
            BLOCK_L=CONV_ROWS,
            BLOCK_C=CONV_COLUMNS,
        )
    return out


def gated_norm(
    y: Float[Tensor, "batch length channel"],
    gate: Float[Tensor, "batch length channel"],
    weight: Float[Tensor, " channel"],
    total: Float[Tensor, "batch length channel"] | None,
    eps: float,
) -> Float[Tensor, "batch length channel"]:
    """Computes `mixing.gated_norm` in float32; overwrites `total`."""
    batch, length, channels = y.shape
    assert y.is_contiguous() and gate.stride(-1) == 1, f"strides {y.stride()}, {gate.stride()}"
    out = torch.empty_like(y) if total is None else total
    # A token is one block, whose size must be a power of two.
    block = 1 << (channels - 1).bit_length()
    with torch.cuda.device_of(y):
        _norm[(length, batch)](
            y,
            Strided(gate, gate.stride(0), gate.stride(1)),
            weight,
            out,
            channels,
            eps,
            ADD=total is not None,
            BLOCK=block,
            num_warps=4,
        )
    return out


@kernel()
def _conv(
    sequence: Strided,
    taps: ChannelFilter,
    out: tl.tensor,
    length: tl.tensor,
    channels: tl.tensor,
    REVERSE: tl.constexpr,
    BLOCK_L: tl.constexpr,
    BLOCK_C: tl.constexpr,
) -> None:
    """Computes a tile of tokens and channels; the rows of the taps overlap in the cache."""
    channel = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    step = tl.program_id(1).to(tl.int64) * BLOCK_L + tl.arange(0, BLOCK_L)
    batch = tl.program_id(2).to(tl.int64)
    known = channel < channels
    item = sequence.data + batch * sequence.batch
    result = tl.zeros([BLOCK_L, BLOCK_C], dtype=tl.float32)
    result += tl.load(taps.bias + channel, mask=known, other=0).to(tl.float32)[None, :]
    for tap in tl.static_range(taps.TAPS):
        seen = step + (taps.TAPS - 1 - tap) if REVERSE else step - (taps.TAPS - 1 - tap)
        # Tokens outside the sequence count as zeros, as in a padded convolution.
        mask = ((seen >= 0) & (seen < length))[:, None] & known[None, :]
        at = item + seen[:, None] * sequence.step + channel[None, :]
        factor = tl.load(taps.weight + channel * taps.TAPS + tap, mask=known, other=0)
        result += tl.load(at, mask=mask, other=0).to(tl.float32) * factor.to(tl.float32)[None, :]
    result *= tl.sigmoid(result)
    at = out + (batch * length + step)[:, None] * channels + channel[None, :]
    mask = (step < length)[:, None] & known[None, :]
    tl.store(at, result.to(out.dtype.element_ty), mask=mask)


@kernel()
def _norm(
    y: tl.tensor,
    gate: Strided,
    weight: tl.tensor,
    out: tl.tensor,
    channels: tl.tensor,
    eps: tl.tensor,
    ADD: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Computes one token: gate, norm, weight, and the sum with the stored value."""
    step, batch = tl.program_id(0).to(tl.int64), tl.program_id(1).to(tl.int64)
    channel = tl.arange(0, BLOCK)
    known = channel < channels
    row = (batch * tl.num_programs(0) + step) * channels + channel
    at = gate.data + batch * gate.batch + step * gate.step + channel
    opened = tl.load(at, mask=known, other=0).to(tl.float32)
    value = tl.load(y + row, mask=known, other=0).to(tl.float32) * opened * tl.sigmoid(opened)
    value *= 1 / tl.sqrt(tl.sum(value * value) / channels + eps)
    value *= tl.load(weight + channel, mask=known, other=0).to(tl.float32)
    if ADD:
        value += tl.load(out + row, mask=known, other=0).to(tl.float32)
    tl.store(out + row, value.to(out.dtype.element_ty), mask=known)
