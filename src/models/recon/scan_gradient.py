"""The gradient of the selective scan, written with the scan itself.

With `W_ts = exp(g_{s+1} + ... + g_t) <dy_t, v_s>` and `v = dt x`: the gradient of `v` is the scan
of `dy` in the other direction with keys and queries exchanged; `dC = W B` and `dB = W^T C`, inside
a chunk by `W`, across chunks by the states that the two scans carry. The gradient of a log-decay
sums the pairs that it lies between: from one step to the next it changes by `<y, dy> - <v, dv>`,
and at a chunk's edge it is the product of the two states that meet there.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .scan_reference import cumulative_decay, into_chunks

ChunkScan = Callable[..., tuple[Tensor, Tensor]]


def scan_gradients(
    chunk_scan: ChunkScan,
    arguments: tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor],
    dy: Float[Tensor, "batch length head p"],
    reverse: bool,
    chunk: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of `arguments`, which are `x, dt, A, B, C, D`, where `dy` is that of the result.

    `chunk_scan` is the twin's function of this name, or one of the same signature.
    """
    x, dt, A, B, C, D = arguments
    length, decay = x.shape[1], dt * A
    crossing = _crossing_decay(decay, reverse)
    y, entering = chunk_scan(x, dt, decay, B, C, reverse, chunk)
    dv, leaving = chunk_scan(dy, torch.ones_like(dt), crossing, C, B, not reverse, chunk)
    values = x * dt[..., None].to(x.dtype)
    gained = (y * dy).sum(-1, dtype=dt.dtype) - (values * dv).sum(-1, dtype=dt.dtype)
    ddt = (x * dv).sum(-1, dtype=dt.dtype)
    dx = dv * dt[..., None].to(dv.dtype) + dy * D.to(dy.dtype)[:, None]
    dD = (x * dy).sum((0, 1, 3), dtype=D.dtype)

    reach = cumulative_decay(into_chunks(decay, chunk), reverse)
    crossing = into_chunks(crossing, chunk)
    gained, values, steps = (into_chunks(part, chunk) for part in (gained, values, dy))
    ddecay = _decay_gradient(gained, crossing, (entering, leaving), reverse)
    ddecay = ddecay.flatten(1, 2)[:, :length]
    pairs = _pair_products(steps, values, reach, reverse).to(B.dtype)
    dC = pairs @ into_chunks(B, chunk) + _across(steps, reach, entering)
    back = cumulative_decay(crossing, not reverse)
    dB = pairs.mT @ into_chunks(C, chunk) + _across(values, back, leaving)
    dB, dC = (part.flatten(1, 2)[:, :length] for part in (dB, dC))
    return dx, ddt + ddecay * A, (ddecay * dt).sum((0, 1)), dB, dC, dD


def _crossing_decay(
    decay: Float[Tensor, "batch length head"], reverse: bool
) -> Float[Tensor, "batch length head"]:
    """Log-decays as the opposite scan meets them: a step back crosses the decay ahead of it."""
    edge = torch.zeros_like(decay[:, :1])
    if reverse:
        return torch.cat((edge, decay[:, :-1]), dim=1)
    return torch.cat((decay[:, 1:], edge), dim=1)


def _pair_products(
    steps: Float[Tensor, "batch chunk step head p"],
    values: Float[Tensor, "batch chunk step head p"],
    reach: Float[Tensor, "batch chunk step head"],
    reverse: bool,
) -> Float[Tensor, "batch chunk step step"]:
    """`W` inside the chunks, head by head, as all heads at once would fill the memory."""
    causal = torch.ones(2 * (reach.shape[2],), dtype=torch.bool, device=reach.device).tril()
    unseen = ~(causal.T if reverse else causal)
    pairs = torch.zeros((), dtype=reach.dtype, device=reach.device)
    for head in range(reach.shape[-1]):
        way = reach[..., head]
        way = (way[..., :, None] - way[..., None, :]).masked_fill_(unseen, -torch.inf)
        pairs = pairs + (steps[..., head, :] @ values[..., head, :].mT) * way.exp_()
    return pairs


def _across(
    steps: Float[Tensor, "batch chunk step head p"],
    reach: Float[Tensor, "batch chunk step head"],
    states: Float[Tensor, "batch chunk head p state"],
) -> Float[Tensor, "batch chunk step state"]:
    """What the steps and the states of other chunks give to the gradient of `B` or `C`."""
    decayed = steps * reach.exp()[..., None].to(steps.dtype)
    return decayed.flatten(-2) @ states.flatten(2, 3).to(steps.dtype)


def _decay_gradient(
    gained: Float[Tensor, "batch chunk step head"],
    crossing: Float[Tensor, "batch chunk step head"],
    states: tuple[Tensor, Tensor],
    reverse: bool,
) -> Float[Tensor, "batch chunk step head"]:
    """Gradient of the log-decays; summed chunk by chunk, so that rounding does not pile up."""
    entering, leaving = states
    if reverse:
        meeting = torch.einsum("bchpn,bchpn->bch", entering[:, :-1], leaving[:, 1:])
        edge = F.pad(meeting * crossing[:, 1:, 0].exp(), (0, 0, 1, 0))
    else:
        meeting = torch.einsum("bchpn,bchpn->bch", entering[:, 1:], leaving[:, :-1])
        edge = F.pad(meeting * crossing[:, :-1, -1].exp(), (0, 0, 0, 1))
    return cumulative_decay(gained, not reverse) + edge[:, :, None]
