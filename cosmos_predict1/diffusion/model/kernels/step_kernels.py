"""Triton kernels of `fused.py`: a program computes one token, in float32, in one pass."""

from typing import NamedTuple

from src.models.recon.jit import kernel, tl


class Branch(NamedTuple):
    """Numbers to add to the tokens, times the gates of their item; gates start `step` apart."""

    data: tl.tensor
    gate: tl.tensor
    step: tl.tensor


class Norm(NamedTuple):
    """The norm's inputs for each item, whose rows start `step` apart, and its results.

    With `LARGEST` above 0, they are 8-bit numbers up to it, and each token has a `scale`.
    """

    shift: tl.tensor
    factor: tl.tensor
    step: tl.tensor
    eps: tl.tensor
    out: tl.tensor
    scale: tl.tensor
    LARGEST: tl.constexpr


class Angles(NamedTuple):
    """Cosines and sines of the angles of `length` tokens."""

    cos: tl.tensor
    sin: tl.tensor
    length: tl.tensor


@kernel()
def residual_norm(
    tokens: tl.tensor,
    branch: Branch,
    position: tl.tensor,
    norm: Norm,
    total: tl.tensor,
    length: tl.tensor,
    width: tl.tensor,
    BLOCK: tl.constexpr,
) -> None:
    """Computes `total`, and its norm with shift and `1 + factor`; leaves out what is None."""
    row = tl.program_id(0).to(tl.int64)
    item = row // length
    column = tl.arange(0, BLOCK)
    known = column < width
    at = row * width + column
    value = tl.load(tokens + at, mask=known, other=0).to(tl.float32)
    if branch is not None:
        gate = branch.gate + item * branch.step + column
        opened = tl.load(gate, mask=known, other=0).to(tl.float32)
        value += opened * tl.load(branch.data + at, mask=known, other=0).to(tl.float32)
    if position is not None:
        place = position + (row - item * length) * width + column
        value += tl.load(place, mask=known, other=0).to(tl.float32)
    if branch is not None or position is not None:
        rounded = value.to(total.dtype.element_ty)
        tl.store(total + at, rounded, mask=known)
        value = rounded.to(tl.float32)
    if norm is not None:
        value = tl.where(known, value - tl.sum(value, axis=0) / width, 0)
        value *= 1 / tl.sqrt(tl.sum(value * value, axis=0) / width + norm.eps)
        stretch = tl.load(norm.factor + item * norm.step + column, mask=known, other=0)
        offset = tl.load(norm.shift + item * norm.step + column, mask=known, other=0)
        value = value * (1 + stretch.to(tl.float32)) + offset.to(tl.float32)
        if norm.LARGEST > 0:
            most = tl.max(tl.abs(tl.where(known, value, 0)), axis=0)
            step = tl.maximum(most, 1e-12) / norm.LARGEST
            tl.store(norm.scale + row, step)
            value *= 1 / step
        tl.store(norm.out + at, value.to(norm.out.dtype.element_ty), mask=known)


@kernel()
def rotated_heads(
    x: tl.tensor,
    weight: tl.tensor,
    angles: Angles,
    heads: tl.tensor,
    eps: tl.tensor,
    HALF: tl.constexpr,
    BLOCK_HEADS: tl.constexpr,
    BLOCK_HALF: tl.constexpr,
) -> None:
    """Computes the norm of all heads of a token, and their rotation; overwrites `x`."""
    row = tl.program_id(0).to(tl.int64)
    head, channel = tl.arange(0, BLOCK_HEADS)[:, None], tl.arange(0, BLOCK_HALF)[None, :]
    known = (head < heads) & (channel < HALF)
    kind = x.dtype.element_ty
    at = x + (row * heads + head) * (2 * HALF) + channel
    first = tl.load(at, mask=known, other=0).to(tl.float32)
    second = tl.load(at + HALF, mask=known, other=0).to(tl.float32)
    square = tl.sum(first * first + second * second, axis=1)
    inverse = (1 / tl.sqrt(square / (2 * HALF) + eps))[:, None]
    inside = channel < HALF
    first *= inverse * tl.load(weight + channel, mask=inside, other=0).to(tl.float32)
    second *= inverse * tl.load(weight + HALF + channel, mask=inside, other=0).to(tl.float32)
    if angles is not None:
        # Rounded as between two steps in torch.
        first, second = first.to(kind).to(tl.float32), second.to(kind).to(tl.float32)
        angle = row % angles.length * (2 * HALF) + channel
        c = tl.load(angles.cos + angle, mask=inside, other=0)
        s = tl.load(angles.sin + angle, mask=inside, other=0)
        first, second = first * c - second * s, second * c + first * s
    tl.store(at, first.to(kind), mask=known)
    tl.store(at + HALF, second.to(kind), mask=known)


@kernel()
def quantise_rows(
    x: tl.tensor,
    out: tl.tensor,
    scale: tl.tensor,
    width: tl.tensor,
    GELU: tl.constexpr,
    LARGEST: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Computes a row of 8-bit numbers and its scale, of `x` or of its GELU."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    known = column < width
    value = tl.load(x + row * width + column, mask=known, other=0).to(tl.float32)
    if GELU:
        value = 0.5 * value * (1 + tl.erf(value * 0.7071067811865476))
    step = tl.maximum(tl.max(tl.abs(value), axis=0), 1e-12) / LARGEST
    tl.store(scale + row, step)
    tl.store(out + row * width + column, (value * (1 / step)).to(out.dtype.element_ty), mask=known)
