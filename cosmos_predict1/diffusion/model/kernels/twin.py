"""The steps of a transformer block in torch, as in diffusers: same operations, same order.

A modulation is a pair of shift and factor, `[batch, width]`.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .rows import Float8Rows, to_rows

Tokens = Float[Tensor, "batch token width"]
Rotary = tuple[Float[Tensor, "token channel"], Float[Tensor, "token channel"]]
Modulation = tuple[Float[Tensor, "batch width"], Float[Tensor, "batch width"]]
NORM_EPSILON = 1e-6


def added(
    tokens: Tokens,
    branch: Tokens | None,
    gate: Float[Tensor, "batch width"] | None,
    position: Float[Tensor, "1 token width"] | None = None,
) -> Tokens:
    """Returns `tokens + gate * branch + position`."""
    if branch is not None and gate is not None:
        tokens = tokens + gate.unsqueeze(1) * branch
    return tokens if position is None else tokens + position


def modulated_norm(
    tokens: Tokens,
    branch: Tokens | None,
    gate: Float[Tensor, "batch width"] | None,
    position: Float[Tensor, "1 token width"] | None,
    modulation: Modulation,
    eight_bit: bool = False,
) -> tuple[Tokens, Tokens | Float8Rows]:
    """Returns `added`, and its layer norm times `1 + factor` plus `shift`, on demand in 8 bits."""
    total = added(tokens, branch, gate, position)
    shift, factor = (part.unsqueeze(1) for part in modulation)
    normed = F.layer_norm(total, total.shape[-1:], eps=NORM_EPSILON)
    normed = normed * (1 + factor) + shift
    return total, to_rows(normed) if eight_bit else normed


def normed_heads(
    x: Float[Tensor, "batch token head channel"],
    weight: Float[Tensor, " channel"],
    rotary: Rotary | None = None,
) -> Float[Tensor, "batch token head channel"]:
    """Returns the RMS norm of each head, rotated by angles if given (Su et al. 2021).

    Channel i and channel i + half are rotated together.
    """
    heads = F.rms_norm(x.transpose(1, 2), weight.shape, weight, NORM_EPSILON)
    if rotary is not None:
        cos, sin = rotary
        first, second = heads.chunk(2, dim=-1)
        turned = torch.cat([-second, first], dim=-1)
        heads = (heads.float() * cos + turned.float() * sin).to(heads.dtype)
    return heads.transpose(1, 2)


def gelu_rows(hidden: Tokens) -> Float8Rows:
    """Returns the GELU in 8 bits."""
    return to_rows(F.gelu(hidden))


rows_of = to_rows
