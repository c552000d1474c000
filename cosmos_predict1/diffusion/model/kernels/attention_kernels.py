"""Triton kernels of `eight_bit.py`: quantisation of heads, and attention over 8-bit queries, keys.

Heads are stored apart from each other: `[batch * head, token, channel]`, with the tokens padded to
whole blocks of `GROUP`. A block of keys shares a scale, and each query has one of its own.
"""

from typing import NamedTuple

from src.models.recon.jit import kernel, tl


class TokenHeads(NamedTuple):
    """A tensor `[batch, token, head, channel]` with its sizes, and those of the stored heads.

    `padded` is the length in whole groups of tokens, and `EVEN` says that it is the length itself.
    """

    data: tl.tensor
    heads: tl.tensor
    padded: tl.tensor
    D: tl.constexpr
    GROUP: tl.constexpr
    EVEN: tl.constexpr


class Scales(NamedTuple):
    """Scales of queries, of groups of keys, and of the channels of values in 8 bits (else None)."""

    query: tl.tensor
    key: tl.tensor
    value: tl.tensor | None


@kernel()
def quantise_heads(
    x: TokenHeads,
    mean: tl.tensor,
    out: tl.tensor,
    scale: tl.tensor,
    length: tl.tensor,
    BY_ROW: tl.constexpr,
    LARGEST: tl.constexpr,
) -> None:
    """Computes a group of tokens of one head, less the head's `mean` (or None); pads zeros."""
    group, head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    token, channel = group * x.GROUP + tl.arange(0, x.GROUP), tl.arange(0, x.D)
    known = (token < length)[:, None]
    at = x.data + ((batch * length + token) * x.heads + head)[:, None] * x.D + channel[None, :]
    value = tl.load(at, mask=known, other=0).to(tl.float32)
    row = batch * x.heads + head
    if mean is not None:
        centre = tl.load(mean + row * x.D + channel)
        value = tl.where(known, value - centre[None, :], 0)
    most = tl.max(tl.abs(value), axis=1)
    if not BY_ROW:
        most = tl.zeros([x.GROUP], dtype=tl.float32) + tl.max(most, axis=0)
    step = tl.maximum(most, 1e-12) / LARGEST
    value *= (1 / step)[:, None]
    if LARGEST == 127:
        # Conversion to int8 cuts, so round to the nearest first.
        value = tl.floor(value + 0.5)
    at = out + (row * x.padded + token)[:, None] * x.D + channel[None, :]
    tl.store(at, value.to(out.dtype.element_ty))
    if BY_ROW:
        tl.store(scale + row * x.padded + token, step)
    else:
        tl.store(scale + row * (x.padded // x.GROUP) + group, tl.max(step, axis=0))


@kernel()
def quantise_values(
    v: TokenHeads,
    scale: tl.tensor,
    out: tl.tensor,
    length: tl.tensor,
) -> None:
    """Computes a group of values of one head, divided by each channel's `scale`, transposed."""
    group, head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    token, channel = group * v.GROUP + tl.arange(0, v.GROUP), tl.arange(0, v.D)
    at = v.data + ((batch * length + token) * v.heads + head)[:, None] * v.D + channel[None, :]
    value = tl.load(at, mask=(token < length)[:, None], other=0).to(tl.float32)
    row = batch * v.heads + head
    value *= (1 / tl.load(scale + row * v.D + channel))[None, :]
    at = out + row * v.D * v.padded + channel[:, None] * v.padded + token[None, :]
    tl.store(at, tl.trans(value.to(out.dtype.element_ty)))


@kernel(
    ({"BLOCK_M": 128, "BLOCK_N": 128}, 8, 3),
    ({"BLOCK_M": 128, "BLOCK_N": 64}, 8, 3),
    ({"BLOCK_M": 64, "BLOCK_N": 128}, 4, 2),
    key=("length",),
)
def attend(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    scales: Scales,
    out: TokenHeads,
    length: tl.tensor,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """Computes a block of queries of one head with a running softmax in float32.

    Exponentials are powers of 2. Weights are multiplied by 2^8, which the division by their sum
    undoes, because small 8-bit numbers are coarse.
    """
    D: tl.constexpr = out.D
    EVEN: tl.constexpr = out.EVEN
    VALUES_8: tl.constexpr = scales.value is not None
    LOG2_E: tl.constexpr = 1.4426950408889634
    row = tl.program_id(1).to(tl.int64)
    batch, head = row // out.heads, row % out.heads
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n, d = tl.arange(0, BLOCK_N), tl.arange(0, D)
    query = tl.load(q + (row * out.padded + m)[:, None] * D + d[None, :])
    by_row = tl.load(scales.query + row * out.padded + m) * (LOG2_E / D**0.5)
    k += row * out.padded * D
    k_scale = scales.key + row * (out.padded // out.GROUP)
    if VALUES_8:
        v += row * D * out.padded
    else:
        v += (batch * length * out.heads + head) * D
    most = tl.full([BLOCK_M], -1e30, dtype=tl.float32)
    total, shrink = tl.zeros([BLOCK_M], dtype=tl.float32), tl.zeros([BLOCK_M], dtype=tl.float32)
    mixed = tl.zeros([BLOCK_M, D], dtype=tl.float32)
    part = tl.zeros([BLOCK_M, D], dtype=tl.float32)
    for start in range(0, length, BLOCK_N):
        key = tl.load(k + (start + n)[None, :] * D + d[:, None])
        score = tl.dot(query, key).to(tl.float32)
        # Tensor cores add 8-bit products with 14 bits only: each block's sum is added here.
        mixed = mixed * shrink[:, None] + part
        step = by_row * tl.load(k_scale + start // out.GROUP)
        if not EVEN:
            score = tl.where((start + n < length)[None, :], score, -1e30)
        new = tl.maximum(most, tl.max(score, axis=1) * step)
        weight = tl.exp2(score * step[:, None] - (new - 8)[:, None])
        shrink = tl.exp2(most - new)
        total = total * shrink + tl.sum(weight, axis=1)
        if VALUES_8:
            value = tl.trans(tl.load(v + d[:, None] * out.padded + (start + n)[None, :]))
        else:
            at = v + (start + n).to(tl.int64)[:, None] * (out.heads * D) + d[None, :]
            value = (
                tl.load(at) if EVEN else tl.load(at, mask=(start + n < length)[:, None], other=0)
            )
        part = tl.dot(weight.to(value.dtype), value)
        most = new
    mixed = (mixed * shrink[:, None] + part) * (1 / total)[:, None]
    if VALUES_8:
        mixed = mixed * tl.load(scales.value + row * D + d)[None, :]
    at = out.data + ((batch * length + m) * out.heads + head)[:, None] * D + d[None, :]
    tl.store(at, mixed.to(out.data.dtype.element_ty), mask=(m < length)[:, None])
