"""The scan of `seam.py` (Mamba-2, SSD form) in plain torch: the twin of the Triton kernels.

Its gradient is computed by scans, too, of the twin or of the kernels.

Chunks are computed as masked matrix products, and linked by the states that enter them. The
reversed scan is the anti-causal form of the same products, without a flip.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

CHUNK = 64
ChunkScan = Callable[..., tuple[Tensor, Tensor]]
# Products of two steps that are in memory at once, over all chunks and heads.
PAIRS_AT_ONCE = 2**26


def selective_scan_reference(
    x: Float[Tensor, "batch length head p"],
    dt: Float[Tensor, "batch length head"],
    A: Float[Tensor, " head"],
    B: Float[Tensor, "batch length state"],
    C: Float[Tensor, "batch length state"],
    D: Float[Tensor, " head"],
    reverse: bool = False,
) -> Float[Tensor, "batch length head p"]:
    """Computes `selective_scan` in float32 (float64 if `x` is), differentiable by autograd."""
    accurate = torch.promote_types(x.dtype, torch.float32)
    wide, dt = x.to(accurate), dt.to(accurate)
    y, _ = chunk_scan(wide, dt, dt * A.to(accurate), B.to(accurate), C.to(accurate), reverse)
    return (y + D.to(accurate)[:, None] * wide).to(x.dtype)


def chunk_scan(
    x: Float[Tensor, "batch length head p"],
    weight: Float[Tensor, "batch length head"],
    decay: Float[Tensor, "batch length head"],
    keys: Float[Tensor, "batch length state"],
    queries: Float[Tensor, "batch length state"],
    reverse: bool = False,
    chunk: int = CHUNK,
) -> tuple[Float[Tensor, "batch length head p"], Float[Tensor, "batch chunk head p state"]]:
    """Returns the scan without its skip term, and the states that enter the chunks.

    Per head: `S_t = exp(decay_t) S_{t-1} + weight_t x_t keys_t^T`, `y_t = S_t queries_t`.
    """
    length = x.shape[1]
    values = into_chunks(x * weight[..., None], chunk)
    keys, queries = into_chunks(keys, chunk), into_chunks(queries, chunk)
    steps = into_chunks(decay, chunk)
    reach = cumulative_decay(steps, reverse)
    total = steps.sum(dim=2)

    # Within a chunk: every step reads the steps that it sees (Dao & Gu 2024, listing 1).
    inside = (queries @ keys.mT)[:, :, None] * pair_decay(reach, reverse)
    y = torch.einsum("bchts,bcshp->bcthp", inside, values)

    # Between chunks: values decay from their steps to the edge where they leave the chunk.
    to_edge = torch.exp(total[:, :, None] - reach)
    outer = (values * to_edge[..., None]).flatten(-2).mT @ keys
    entering = entering_states(outer.unflatten(2, values.shape[-2:]), total, reverse)
    # Entering states are read after their decay up to the step.
    across = queries @ entering.flatten(2, 3).mT
    y = y + across.unflatten(-1, values.shape[-2:]) * torch.exp(reach)[..., None]
    return y.flatten(1, 2)[:, :length], entering


def into_chunks(
    sequence: Float[Tensor, "batch length *rest"], chunk: int
) -> Float[Tensor, "batch chunk step *rest"]:
    """Cuts the sequence into chunks, padded with zeros, which neither add nor decay."""
    missing = -sequence.shape[1] % chunk
    if missing:
        sequence = F.pad(sequence, (0, 0) * (sequence.ndim - 2) + (0, missing))
    return sequence.unflatten(1, (-1, chunk))


def cumulative_decay(
    steps: Float[Tensor, "batch chunk step head"], reverse: bool
) -> Float[Tensor, "batch chunk step head"]:
    """Returns the log-decay from the edge where a state enters a chunk through each step."""
    if not reverse:
        return steps.cumsum(dim=2)
    return steps.flip(2).cumsum(dim=2).flip(2)


def pair_decay(
    reach: Float[Tensor, "batch chunk step head"], reverse: bool
) -> Float[Tensor, "batch chunk head step step"]:
    """Returns the decay from step `s` (last) to step `t` of a chunk; 0 where `s` comes later."""
    reach = reach.mT
    causal = torch.ones(2 * reach.shape[-1:], dtype=torch.bool, device=reach.device).tril()
    seen = causal.T if reverse else causal
    # Masked before the exponential, which would overflow in the other half.
    difference = reach[..., :, None] - reach[..., None, :]
    return difference.masked_fill(~seen, -torch.inf).exp()


def entering_states(
    states: Float[Tensor, "batch chunk head p state"],
    total: Float[Tensor, "batch chunk head"],
    reverse: bool,
) -> Float[Tensor, "batch chunk head p state"]:
    """Returns the state at the edge of each chunk, from all earlier (reversed: later) chunks."""
    factors = torch.exp(total)[..., None, None].unbind(dim=1)
    parts = list(zip(states.unbind(dim=1), factors, strict=True))
    # A loop over the few chunks; a product over all pairs would cost their square.
    running = torch.zeros_like(states[:, 0])
    entering = []
    for state, factor in reversed(parts) if reverse else parts:
        entering.append(running)
        running = running * factor + state
    return torch.stack(entering[::-1] if reverse else entering, dim=1)


def scan_gradients(
    chunk_scan: ChunkScan,
    arguments: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor],
    dy: Float[Tensor, "batch length head p"],
    reverse: bool,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Returns the gradients of `arguments`, `x, dt, A, B, C, D`; `dy` is that of the result.

    `chunk_scan` is the twin's function, or a kernel of the same signature. With log-decays
    `g = dt A`, `v = dt x` and `W_ts = exp(g_{s+1} + ... + g_t) <dy_t, v_s>`: the gradient of `v` is
    the scan of `dy` in the other direction with keys and queries exchanged; `dC = W B` and
    `dB = W^T C`, inside a chunk by `W`, across chunks by the states of the two scans. The gradient
    of a log-decay sums `W_ts <c_t, b_s>` over the pairs of steps on its two sides: both, one or
    none of them in the same chunk.
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
