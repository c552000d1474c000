"""Triton kernels of `fused.py`: a program computes one token, in float32, in one pass."""

from src.models.recon.jit import kernel, tl


@kernel()
def residual_norm(  # noqa: PLR0913 (a kernel takes pointers, strides and sizes one by one)
    tokens: tl.tensor,
    branch: tl.tensor,
    gate: tl.tensor,
    position: tl.tensor,
    shift: tl.tensor,
    factor: tl.tensor,
    total: tl.tensor,
    normed: tl.tensor,
    scale: tl.tensor,
    length: tl.tensor,
    width: tl.tensor,
    gate_step: tl.tensor,
    shift_step: tl.tensor,
    eps: tl.tensor,
    ADD: tl.constexpr,
    PLACE: tl.constexpr,
    NORM: tl.constexpr,
    LARGEST: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Computes `total`, and its norm with shift and `1 + factor`; `LARGEST` above 0 quantises."""
    row = tl.program_id(0).to(tl.int64)
    item = row // length
    column = tl.arange(0, BLOCK)
    known = column < width
    at = row * width + column
    value = tl.load(tokens + at, mask=known, other=0).to(tl.float32)
    if ADD:
        opened = tl.load(gate + item * gate_step + column, mask=known, other=0).to(tl.float32)
        value += opened * tl.load(branch + at, mask=known, other=0).to(tl.float32)
    if PLACE:
        place = position + (row - item * length) * width + column
        value += tl.load(place, mask=known, other=0).to(tl.float32)
    if ADD or PLACE:
        rounded = value.to(total.dtype.element_ty)
        tl.store(total + at, rounded, mask=known)
        value = rounded.to(tl.float32)
    if NORM:
        value = tl.where(known, value - tl.sum(value, axis=0) / width, 0)
        value *= 1 / tl.sqrt(tl.sum(value * value, axis=0) / width + eps)
        stretch = tl.load(factor + item * shift_step + column, mask=known, other=0)
        offset = tl.load(shift + item * shift_step + column, mask=known, other=0)
        value = value * (1 + stretch.to(tl.float32)) + offset.to(tl.float32)
        if LARGEST > 0:
            step = tl.maximum(tl.max(tl.abs(tl.where(known, value, 0)), axis=0), 1e-12) / LARGEST
            tl.store(scale + row, step)
            value *= 1 / step
        tl.store(normed + at, value.to(normed.dtype.element_ty), mask=known)


@kernel()
def rotated_heads(  # noqa: PLR0913
    x: tl.tensor,
    weight: tl.tensor,
    cos: tl.tensor,
    sin: tl.tensor,
    length: tl.tensor,
    heads: tl.tensor,
    eps: tl.tensor,
    ROTATE: tl.constexpr,
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
    if ROTATE:
        # Rounded as between two steps in torch.
        first, second = first.to(kind).to(tl.float32), second.to(kind).to(tl.float32)
        angle = row % length * (2 * HALF) + channel
        c = tl.load(cos + angle, mask=inside, other=0)
        s = tl.load(sin + angle, mask=inside, other=0)
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
