"""The functions of `twin.py` as Triton kernels, for inference; each passes memory once."""

import torch
from jaxtyping import Float
from torch import Tensor

from src.models.recon.jit import tl

from .rows import FLOAT8, LARGEST, Float8Rows
from .step_kernels import Angles, Branch, Norm, quantise_rows, residual_norm, rotated_heads
from .twin import NORM_EPSILON, Modulation, Rotary, Tokens


def added(
    tokens: Tokens,
    branch: Tokens | None,
    gate: Float[Tensor, "batch width"] | None,
    position: Float[Tensor, "1 token width"] | None = None,
) -> Tokens:
    """Computes `twin.added`; overwrites `branch`."""
    return _residual_norm(tokens, branch, gate, position, None, False)[0]


def modulated_norm(
    tokens: Tokens,
    branch: Tokens | None,
    gate: Float[Tensor, "batch width"] | None,
    position: Float[Tensor, "1 token width"] | None,
    modulation: Modulation,
    eight_bit: bool = False,
) -> tuple[Tokens, Tokens | Float8Rows]:
    """Computes `twin.modulated_norm`; overwrites `branch`."""
    total, normed = _residual_norm(tokens, branch, gate, position, modulation, eight_bit)
    assert normed is not None
    return total, normed


def _residual_norm(
    tokens: Tokens,
    branch: Tokens | None,
    gate: Float[Tensor, "batch width"] | None,
    position: Float[Tensor, "1 token width"] | None,
    modulation: Modulation | None,
    eight_bit: bool,
) -> tuple[Tokens, Tokens | Float8Rows | None]:
    batch, length, width = tokens.shape
    given = [tokens, *(part for part in (branch, position) if part is not None)]
    assert all(part.is_contiguous() for part in given), "contiguous tokens expected"
    # The branch ends here, so the sum can take its place.
    total = branch if branch is not None else tokens
    if branch is None and position is not None:
        total = torch.empty_like(tokens)
    normed = scale = norm = None
    if modulation is not None:
        shift, factor = modulation
        normed = torch.empty_like(tokens, dtype=FLOAT8 if eight_bit else None)
        scale = tokens.new_empty(batch, length, 1, dtype=torch.float32)
        norm = Norm(
            shift=shift,
            factor=factor,
            step=shift.stride(0),
            eps=NORM_EPSILON,
            out=normed,
            scale=scale,
            LARGEST=tl.constexpr(LARGEST if eight_bit else 0.0),
        )
    with torch.cuda.device_of(tokens):
        residual_norm[(batch * length,)](
            tokens,
            None if branch is None or gate is None else Branch(branch, gate, gate.stride(0)),
            position,
            norm,
            total,
            length,
            width,
            BLOCK=_block(width),
            num_warps=8,
        )
    if normed is None or scale is None:
        return total, None
    return total, Float8Rows(normed, scale) if eight_bit else normed


def normed_heads(
    x: Float[Tensor, "batch token head channel"],
    weight: Float[Tensor, " channel"],
    rotary: Rotary | None = None,
) -> Float[Tensor, "batch token head channel"]:
    """Computes `twin.normed_heads`; overwrites `x`."""
    batch, length, heads, channels = x.shape
    assert x.is_contiguous(), f"strides {x.stride()}"
    with torch.cuda.device_of(x):
        rotated_heads[(batch * length,)](
            x,
            weight,
            None if rotary is None else Angles(rotary[0], rotary[1], length),
            heads,
            NORM_EPSILON,
            HALF=channels // 2,
            BLOCK_HEADS=_block(heads),
            BLOCK_HALF=_block(channels // 2),
            num_warps=4,
        )
    return x


def rows_of(x: Float[Tensor, "*row width"]) -> Float8Rows:
    """Computes `twin.rows_of`."""
    return _rows(x, gelu=False)


def gelu_rows(hidden: Tokens) -> Float8Rows:
    """Computes `twin.gelu_rows`."""
    return _rows(hidden, gelu=True)


def _rows(x: Float[Tensor, "*row width"], gelu: bool) -> Float8Rows:
    x, width = x.contiguous(), x.shape[-1]
    out = torch.empty_like(x, dtype=FLOAT8)
    scale = x.new_empty(*x.shape[:-1], 1, dtype=torch.float32)
    with torch.cuda.device_of(x):
        quantise_rows[(scale.numel(),)](
            x, out, scale, width, GELU=gelu, LARGEST=LARGEST, BLOCK=_block(width), num_warps=8
        )
    return Float8Rows(out, scale)


def _block(size: int) -> int:
    """Returns the power of two that holds `size`, as blocks of Triton must be."""
    return 1 << (size - 1).bit_length()
