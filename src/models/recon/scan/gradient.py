"""The gradient of the selective scan, computed by scans.

With log-decays `g = dt A`, `v = dt x` and `W_ts = exp(g_{s+1} + ... + g_t) <dy_t, v_s>`: the
gradient of `v` is the scan of `dy` in the other direction with keys and queries exchanged;
`dC = W B` and `dB = W^T C`, inside a chunk by `W`, across chunks by the states of the two scans.
The gradient of a log-decay sums `W_ts <c_t, b_s>` over the pairs of steps on its two sides: both,
one or none of them in the same chunk.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .twin import cumulative_decay, into_chunks

ChunkScan = Callable[..., tuple[Tensor, Tensor]]
# Products of two steps that are in memory at once, over all chunks and heads.
PAIRS_AT_ONCE = 2**26


def scan_gradients(
    chunk_scan: ChunkScan,
    arguments: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor],
    dy: Float[Tensor, "batch length head p"],
    reverse: bool,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of `arguments`, `x, dt, A, B, C, D`; `dy` is that of the result.

    `chunk_scan` is the twin's function, or a kernel of the same signature.
    """
    x, dt, A, B, C, D = arguments
    length, decay = x.shape[1], dt * A
    # Log-decays of the opposite scan: a step back crosses the decay of the step ahead.
    edge = torch.zeros_like(decay[:, :1])
    crossing = torch.cat((edge, decay[:, :-1]) if reverse else (decay[:, 1:], edge), dim=1)
    _, entering = chunk_scan(x, dt, decay, B, C, reverse, chunk)
    dv, leaving = chunk_scan(dy, torch.ones_like(dt), crossing, C, B, not reverse, chunk)
    ddt = (x * dv).sum(-1, dtype=dt.dtype)
    dx = dv * dt[..., None].to(dv.dtype) + dy * D.to(dy.dtype)[:, None]
    dD = (x * dy).sum((0, 1, 3), dtype=D.dtype)

    values = into_chunks(x * dt[..., None].to(x.dtype), chunk)
    steps, keys, queries = (into_chunks(part, chunk) for part in (dy, B, C))
    reach = cumulative_decay(into_chunks(decay, chunk), reverse)
    crossing = into_chunks(crossing, chunk)
    back = cumulative_decay(crossing, not reverse)
    pairs, inside = _pair_products(steps, values, queries @ keys.mT, reach, reverse)
    pairs = pairs.to(B.dtype)
    dC = pairs @ keys + _across(steps, reach, entering)
    dB = pairs.mT @ queries + _across(values, back, leaving)

    # The pairs themselves are summed. Differences of `<y, dy>` and `<v, dv>` are equal in theory,
    # but lose all digits to rounding where decays are strong.
    arriving = _with_states(steps, queries, reach, entering)
    departing = _with_states(values, keys, back, leaving)
    ddecay = cumulative_decay(inside + arriving, not reverse)
    ddecay = ddecay + cumulative_decay(departing, reverse) - departing
    # Pairs around the chunk decay through it and on to the first step behind it.
    last = 0 if reverse else -1
    way = reach[:, :, last] + crossing[:, :, last]
    meeting = torch.einsum("bchpn,bchpn->bch", entering, leaving)
    ddecay = ddecay + (meeting * way.exp())[:, :, None]
    ddecay, dB, dC = (part.flatten(1, 2)[:, :length] for part in (ddecay, dB, dC))
    return dx, ddt + ddecay * A, (ddecay * dt).sum((0, 1)), dB, dC, dD


def _pair_products(
    steps: Float[Tensor, "batch chunk step head p"],
    values: Float[Tensor, "batch chunk step head p"],
    scores: Float[Tensor, "batch chunk step step"],
    reach: Float[Tensor, "batch chunk step head"],
    reverse: bool,
) -> tuple[Float[Tensor, "batch chunk step step"], Float[Tensor, "batch chunk step head"]]:
    """Returns `W` inside the chunks, and each step's change of the sum over pairs around it.

    Takes some heads at once: all heads of a long sequence would fill the memory.
    """
    length = reach.shape[2]
    causal = torch.ones(length, length, dtype=torch.bool, device=reach.device).tril()
    unseen = ~(causal.T if reverse else causal)
    pairs, changes = torch.zeros_like(scores, dtype=reach.dtype), []
    most = max(1, PAIRS_AT_ONCE // scores.numel())
    parts = (part.movedim(3, 2) for part in (reach, steps, values))
    parts = zip(*(part.split(most, dim=2) for part in parts), strict=True)
    for way, given, value in parts:
        way = (way[..., :, None] - way[..., None, :]).masked_fill_(unseen, -torch.inf)
        product = (given @ value.mT) * way.exp_()
        pairs += product.sum(2)
        product = product * scores[:, :, None]
        changes.append(product.sum(-1) - product.sum(-2))
    return pairs, torch.cat(changes, dim=2).movedim(2, 3)


def _across(
    steps: Float[Tensor, "batch chunk step head p"],
    reach: Float[Tensor, "batch chunk step head"],
    states: Float[Tensor, "batch chunk head p state"],
) -> Float[Tensor, "batch chunk step state"]:
    """Returns the part of the gradient of `B` or `C` that comes from other chunks."""
    decayed = steps * reach.exp()[..., None].to(steps.dtype)
    return decayed.flatten(-2) @ states.flatten(2, 3).to(steps.dtype)


def _with_states(
    steps: Float[Tensor, "batch chunk step head p"],
    keys: Float[Tensor, "batch chunk step state"],
    reach: Float[Tensor, "batch chunk step head"],
    states: Float[Tensor, "batch chunk head p state"],
) -> Float[Tensor, "batch chunk step head"]:
    """Returns the sum of the pairs of each step with all steps of other chunks."""
    read = (keys @ states.flatten(2, 3).mT.to(keys.dtype)).unflatten(-1, steps.shape[-2:])
    return (read * steps).sum(-1, dtype=reach.dtype) * reach.exp()
