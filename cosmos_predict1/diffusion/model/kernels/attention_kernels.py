"""Triton kernels of attention in 8 bits: quantisation of heads, and attention over the results.

Heads are stored apart from each other: `[batch * head, token, channel]`, with the tokens padded to
whole groups of `GROUP`. A group of keys shares a scale, and each query has one of its own.

A weight of the softmax, 2^x, becomes a float8_e4m3fn without an exponential function: its bits are
nearly `8 x` plus a constant, as those of any float are nearly its logarithm. What they stand for is
at most 6 % off, besides the rounding to 8 bits, which is as large. So 16 bits hold all that is
computed of a weight, and one instruction works on two.
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
    """Scales of queries, of groups of keys, and of the channels of values."""

    query: tl.tensor
    key: tl.tensor
    value: tl.tensor


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
    """Computes a group of tokens of one head, less the head's `mean` (or None); pads zeros.

    The scale of numbers that are not all finite is NaN.
    """
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
    finite = tl.sum(value * 0, axis=1)
    if not BY_ROW:
        most = tl.zeros([x.GROUP], dtype=tl.float32) + tl.max(most, axis=0)
        finite = tl.zeros([x.GROUP], dtype=tl.float32) + tl.sum(finite, axis=0)
    step = tl.maximum(most, 1e-12) / LARGEST
    value *= (1 / step)[:, None]
    at = out + (row * x.padded + token)[:, None] * x.D + channel[None, :]
    tl.store(at, value.to(out.dtype.element_ty))
    # A maximum may pass over what is not a number, and a sum does not.
    step += finite
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
    """Computes a group of values of one head, divided by each channel's `scale`, transposed.

    The two halves of a group take turns: its tokens 0, 64, 1, 65 and so on, as `attend` has them.
    """
    group, head, batch = tl.program_id(0), tl.program_id(1), tl.program_id(2).to(tl.int64)
    HALF: tl.constexpr = v.GROUP // 2
    place, channel = tl.arange(0, v.GROUP), tl.arange(0, v.D)
    token = group * v.GROUP + place
    at = v.data + ((batch * length + token) * v.heads + head)[:, None] * v.D + channel[None, :]
    value = tl.load(at, mask=(token < length)[:, None], other=0).to(tl.float32)
    row = batch * v.heads + head
    value *= (1 / tl.load(scale + row * v.D + channel))[None, :]
    turn = group * v.GROUP + place % HALF * 2 + place // HALF
    at = out + row * v.D * v.padded + channel[:, None] * v.padded + turn[None, :]
    tl.store(at, tl.trans(value.to(out.dtype.element_ty)))


@kernel()
def most_of_pairs(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    """Returns the larger ones of two pairs of signed 16-bit integers."""
    return tl.inline_asm_elementwise(
        "max.s16x2 $0, $1, $2;", "=r,r,r", [a, b], dtype=tl.int32, is_pure=True, pack=1
    )


@kernel()
def sum_of_pairs(a: tl.tensor, b: tl.tensor) -> tl.tensor:
    """Returns the sums of two pairs of float16 numbers."""
    return tl.inline_asm_elementwise(
        "add.f16x2 $0, $1, $2;", "=r,r,r", [a, b], dtype=tl.int32, is_pure=True, pack=1
    )


@kernel()
def logarithms(a: tl.tensor, b: tl.tensor, step: tl.tensor, base: tl.tensor) -> tl.tensor:
    """Returns the integers next to `a * step` and `b * step` less a row's reference, as pairs.

    `base` is 1.5 * 2^23 less the reference: from there on a float32 has its integer part in its
    lower bits, of which 16 are kept.
    """
    return tl.inline_asm_elementwise(
        """{
        .reg .f32 a, b;
        fma.rn.f32 a, $1, $3, $4;
        fma.rn.f32 b, $2, $3, $4;
        prmt.b32 $0, a, b, 0x5410;
        }""",
        "=r,r,r,r,r",
        [a, b, tl.broadcast_to(step[:, None], a.shape), tl.broadcast_to(base[:, None], a.shape)],
        dtype=tl.int32,
        is_pure=True,
        pack=1,
    )


@kernel()
def largest(pair: tl.tensor, left: tl.tensor, EVEN: tl.constexpr) -> tl.tensor:
    """Returns each row's largest integer, at least 0, of the first `left` keys of a group."""
    HALF: tl.constexpr = pair.shape[1]
    if not EVEN:
        at = tl.arange(0, HALF)[None, :]
        pair = tl.where(at < left, pair, pair & -65536 | 32768)
        pair = tl.where(at + HALF < left, pair, pair & 65535 | -(2**31))
    both = tl.reduce(pair, 1, most_of_pairs)
    return tl.maximum(tl.maximum(both >> 16, both << 16 >> 16), 0)


@kernel()
def bits_of_weights(
    pair: tl.tensor, rise: tl.tensor, left: tl.tensor, EVEN: tl.constexpr
) -> tl.tensor:
    """Returns the bits of the weights as pairs: 126, those of 448, less how far below `rise`."""
    HALF: tl.constexpr = pair.shape[1]
    shift = (126 - rise) & 65535
    shift |= shift << 16
    bits = tl.inline_asm_elementwise(
        """{
        .reg .b32 sum, zero;
        mov.b32 zero, 0;
        add.s16x2 sum, $1, $2;
        max.s16x2.relu $0, sum, zero;
        }""",
        "=r,r,r",
        [pair, tl.broadcast_to(shift[:, None], pair.shape)],
        dtype=tl.int32,
        is_pure=True,
        pack=1,
    )
    if not EVEN:
        at = tl.arange(0, HALF)[None, :]
        bits = tl.where(at < left, bits, bits & -65536)
        bits = tl.where(at + HALF < left, bits, bits & 65535)
    return bits


@kernel()
def sum_of_weights(bits: tl.tensor) -> tl.tensor:
    """Returns 2^-8 of each row's sum: the same bits, shifted, are float16 numbers."""
    both = tl.reduce(bits << 7, 1, sum_of_pairs)
    a = both.to(tl.int16).to(tl.float16, bitcast=True)
    b = (both >> 16).to(tl.int16).to(tl.float16, bitcast=True)
    return a.to(tl.float32) + b.to(tl.float32)


@kernel()
def weights(bits: tl.tensor) -> tl.tensor:
    """Returns the weights in 8 bits, those of the two halves in turns: no thread needs another's.

    So the product with the values reads them from the registers in which they are.
    """
    return tl.inline_asm_elementwise(
        "prmt.b32 $0, $1, $3, 0x6420;",
        "=r,r,r,r,r",
        [tl.reshape(tl.join(bits, bits), [bits.shape[0], 2 * bits.shape[1]])],
        dtype=tl.int8,
        is_pure=True,
        pack=4,
    ).to(tl.float8e4nv, bitcast=True)


@kernel(({"BLOCK_M": 128}, 8, 3), ({"BLOCK_M": 64}, 4, 2), key=("length",))
def attend(
    q: tl.tensor,
    k: tl.tensor,
    v: tl.tensor,
    scales: Scales,
    out: TokenHeads,
    length: tl.tensor,
    BLOCK_M: tl.constexpr,
) -> None:
    """Computes a block of queries of one head with a running softmax.

    Logarithms of weights are integers of 16 bits, in eighths of a power of 2, relative to the
    largest so far. They begin 2^14 above the reference: logits lie between -1,400 and 1,400.
    """
    D: tl.constexpr = out.D
    EVEN: tl.constexpr = out.EVEN
    GROUP: tl.constexpr = out.GROUP
    HALF: tl.constexpr = GROUP // 2
    LOG2_E: tl.constexpr = 1.4426950408889634
    row = tl.program_id(1).to(tl.int64)
    batch, head = row // out.heads, row % out.heads
    m = tl.program_id(0) * BLOCK_M + tl.arange(0, BLOCK_M)
    n, half, d = tl.arange(0, GROUP), tl.arange(0, HALF), tl.arange(0, D)
    query = tl.load(q + (row * out.padded + m)[:, None] * D + d[None, :])
    by_row = tl.load(scales.query + row * out.padded + m) * (8 * LOG2_E / D**0.5)
    k += row * out.padded * D
    k_scale = scales.key + row * (out.padded // GROUP)
    v += row * D * out.padded
    base = tl.full([BLOCK_M], 1.5 * 2**23 + 2**14, dtype=tl.float32)
    total, shrink = tl.zeros([BLOCK_M], dtype=tl.float32), tl.zeros([BLOCK_M], dtype=tl.float32)
    mixed = tl.zeros([BLOCK_M, D], dtype=tl.float32)
    part = tl.zeros([BLOCK_M, D], dtype=tl.float32)
    for start in range(0, length, GROUP):
        score_a = tl.dot(query, tl.load(k + (start + half)[None, :] * D + d[:, None]))
        score_b = tl.dot(query, tl.load(k + (start + HALF + half)[None, :] * D + d[:, None]))
        # Tensor cores add 8-bit products with 14 bits only: each group's sum is added here.
        mixed = mixed * shrink[:, None] + part
        step = by_row * tl.load(k_scale + start // GROUP)
        pair = logarithms(score_a, score_b, step, base)
        rise = largest(pair, length - start, EVEN)
        base -= rise.to(tl.float32)
        shrink = tl.exp2(rise.to(tl.float32) * -0.125)
        bits = bits_of_weights(pair, rise, length - start, EVEN)
        # Of a scale that is NaN the integers know nothing.
        total = total * shrink + sum_of_weights(bits) + step * 0
        value = tl.load(v + d[:, None] * out.padded + (start + n)[None, :])
        part = tl.dot(weights(bits), tl.trans(value))
    mixed = (mixed * shrink[:, None] + part) * (1 / (256 * total))[:, None]
    mixed = mixed * tl.load(scales.value + row * D + d)[None, :]
    at = out.data + ((batch * length + m) * out.heads + head)[:, None] * D + d[None, :]
    tl.store(at, mixed.to(out.data.dtype.element_ty), mask=(m < length)[:, None])
