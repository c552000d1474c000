"""The scan of `seam.py` (Mamba-2, SSD form) in plain torch: the twin of the Triton kernels.

Chunks are computed as masked matrix products, and linked by the states that enter them. The
reversed scan is the anti-causal form of the same products, without a flip.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

CHUNK = 64


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
