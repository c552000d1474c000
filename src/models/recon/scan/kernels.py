"""The twin's `chunk_scan` in Triton (Dao & Gu 2024, section 6).

Three kernels compute the contribution of each chunk to the state, the states that enter the chunks,
and the outputs. All heads share keys and queries, whose products one matrix product makes. Indices:
`t` and `s` are steps of a chunk (`t` sees `s`), `p` a head's channels, `n` the state's.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..jit import kernel, tl
from .twin import into_chunks

CHUNK = 256


class HeadInputs(NamedTuple):
    """Inputs of the heads: values `x`, whose rows start `x_step` apart, and weights of the skip.

    `weight` and `reach`, the running sum of the decay, are `[batch, head, chunk, step]`.
    """

    x: tl.tensor
    x_step: tl.tensor
    weight: tl.tensor
    reach: tl.tensor
    skip: tl.tensor


class SharedRows(NamedTuple):
    """Keys or queries, which all heads share; rows start `step` apart."""

    data: tl.tensor
    step: tl.tensor


class ScanSizes(NamedTuple):
    """Sizes of a scan: `H` heads of `P` channels, a state of `N` and chunks of `Q` steps."""

    length: tl.tensor
    chunks: tl.tensor
    H: tl.constexpr
    P: tl.constexpr
    N: tl.constexpr
    Q: tl.constexpr
    REVERSE: tl.constexpr
    PRECISION: tl.constexpr


def chunk_scan(
    x: Float[Tensor, "batch length head p"],
    weight: Float[Tensor, "batch length head"],
    decay: Float[Tensor, "batch length head"],
    keys: Float[Tensor, "batch length state"],
    queries: Float[Tensor, "batch length state"],
    reverse: bool = False,
    chunk: int = CHUNK,
    skip: Float[Tensor, " head"] | None = None,
) -> tuple[Float[Tensor, "batch length head p"], Float[Tensor, "batch chunk head p state"]]:
    """Computes the twin's `chunk_scan` plus `skip * x`; states are rounded to the type of `x`.

    Heads need at least 16 channels, states 256 and chunks 128; all of them powers of two.
    """
    batch, length, heads, width = x.shape
    x, keys, queries = _rows(x.flatten(-2)), _rows(keys), _rows(queries)
    # One product for all heads; a kernel for each head would do 16 times the work.
    scores = into_chunks(queries, chunk) @ into_chunks(keys, chunk).mT
    weight, steps = _by_head(weight, chunk), _by_head(decay, chunk)
    reach = steps.flip(-1).cumsum(-1).flip(-1) if reverse else steps.cumsum(-1)
    chunks, state = reach.shape[2], keys.shape[-1]
    skip = torch.zeros(heads, device=x.device) if skip is None else skip
    # TF32 keeps only 10 bits of float32; for bfloat16 the choice changes nothing.
    precision = "ieee" if x.dtype == torch.float32 else "tf32"

    inputs = HeadInputs(x=x, x_step=x.stride(1), weight=weight, reach=reach, skip=skip)
    sizes = ScanSizes(
        length=length,
        chunks=chunks,
        H=tl.constexpr(heads),
        P=tl.constexpr(width),
        N=tl.constexpr(state),
        Q=tl.constexpr(chunk),
        REVERSE=tl.constexpr(reverse),
        PRECISION=tl.constexpr(precision),
    )
    states = torch.empty(batch, chunks, heads, width, state, dtype=x.dtype, device=x.device)
    y = torch.empty(batch, length, heads, width, dtype=x.dtype, device=x.device)
    with torch.cuda.device_of(x):
        _states[lambda meta: (heads * state // meta["BLOCK_N"], chunks, batch)](
            inputs, SharedRows(keys, keys.stride(1)), states, sizes
        )
        _entering[(width * state // 256, heads, batch)](
            states, reach, sizes, BLOCK=256, num_warps=1
        )
        _outputs[lambda meta: (heads * chunk // meta["BLOCK_T"], chunks, batch)](
            inputs, SharedRows(queries, queries.stride(1)), scores, states, y, sizes
        )
    return y, states


def _rows(sequence: Float[Tensor, "batch length width"]) -> Float[Tensor, "batch length width"]:
    """Returns the sequence itself if its rows are evenly spaced: no copy of a channel slice."""
    batch, length, _ = sequence.shape
    even = batch == 1 or sequence.stride(0) == length * sequence.stride(1)
    return sequence if even and sequence.stride(2) == 1 else sequence.contiguous()


def _by_head(
    steps: Float[Tensor, "batch length head"], chunk: int
) -> Float[Tensor, "batch head chunk step"]:
    """Returns one contiguous row for each head, in chunks padded with zeros."""
    padded = F.pad(steps.mT, (0, -steps.shape[1] % chunk))
    return padded.contiguous().unflatten(-1, (-1, chunk))


@kernel(
    ({"BLOCK_N": 128, "BLOCK_S": 64}, 4, 3),
    ({"BLOCK_N": 256, "BLOCK_S": 32}, 4, 3),
    ({"BLOCK_N": 256, "BLOCK_S": 64}, 8, 3),
)
def _states(
    inputs: HeadInputs,
    keys: SharedRows,
    states: tl.tensor,
    sizes: ScanSizes,
    BLOCK_N: tl.constexpr,
    BLOCK_S: tl.constexpr,
) -> None:
    """Computes the contribution of each chunk to the state at the edge where the scan leaves it."""
    # Heads are neighbours in the grid, so that their shared keys come from the cache.
    head, block = tl.program_id(0) % sizes.H, tl.program_id(0) // sizes.H
    # 64 bits: offsets into long sequences exceed 2^31.
    chunk, batch = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    p, n = tl.arange(0, sizes.P), block * BLOCK_N + tl.arange(0, BLOCK_N)
    row = ((batch * sizes.H + head) * sizes.chunks + chunk) * sizes.Q
    first = batch * sizes.length + chunk * sizes.Q
    x = inputs.x + (first * inputs.x_step + head * sizes.P)
    rows = keys.data + first * keys.step
    # The running sum ends with the decay through the whole chunk.
    total = tl.load(inputs.reach + row + (0 if sizes.REVERSE else sizes.Q - 1))
    added = tl.zeros([sizes.P, BLOCK_N], dtype=tl.float32)
    for start in range(0, sizes.Q, BLOCK_S):
        s = start + tl.arange(0, BLOCK_S)
        # `weight` and `reach` are padded to whole chunks, the sequences are not.
        inside = chunk * sizes.Q + s < sizes.length
        factor = tl.load(inputs.weight + row + s) * tl.exp(total - tl.load(inputs.reach + row + s))
        value = tl.load(x + s[None, :] * inputs.x_step + p[:, None], mask=inside[None, :], other=0)
        key = tl.load(rows + s[:, None] * keys.step + n[None, :], mask=inside[:, None], other=0)
        value = (value * factor[None, :]).to(key.dtype)
        added = tl.dot(value, key, added, input_precision=sizes.PRECISION)
    out = states + ((batch * sizes.chunks + chunk) * sizes.H + head) * sizes.P * sizes.N
    tl.store(out + p[:, None] * sizes.N + n[None, :], added.to(states.dtype.element_ty))


@kernel()
def _entering(states: tl.tensor, reach: tl.tensor, sizes: ScanSizes, BLOCK: tl.constexpr) -> None:
    """Replaces the contributions of the chunks by the states that enter them."""
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    first = sizes.chunks - 1 if sizes.REVERSE else 0
    chunk_size: tl.constexpr = sizes.H * sizes.P * sizes.N
    step: tl.constexpr = -chunk_size if sizes.REVERSE else chunk_size
    way_step: tl.constexpr = -sizes.Q if sizes.REVERSE else sizes.Q
    at = states + ((batch * sizes.chunks + first) * sizes.H + head) * sizes.P * sizes.N
    at += tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    way = reach + ((batch * sizes.H + head) * sizes.chunks + first) * sizes.Q
    way += 0 if sizes.REVERSE else sizes.Q - 1
    kind = states.dtype.element_ty
    # The state stays in float32 and only stored copies are rounded, so errors don't add up.
    state = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, sizes.chunks, 4):
        # Four loads run at once: one alone would wait for the memory.
        in1, in2 = start + 1 < sizes.chunks, start + 2 < sizes.chunks
        in3 = start + 3 < sizes.chunks
        added0 = tl.load(at)
        added1 = tl.load(at + step, mask=in1, other=0)
        added2 = tl.load(at + 2 * step, mask=in2, other=0)
        added3 = tl.load(at + 3 * step, mask=in3, other=0)
        way0 = tl.load(way)
        way1 = tl.load(way + way_step, mask=in1, other=0)
        way2 = tl.load(way + 2 * way_step, mask=in2, other=0)
        way3 = tl.load(way + 3 * way_step, mask=in3, other=0)
        tl.store(at, state.to(kind))
        state = state * tl.exp(way0) + added0
        tl.store(at + step, state.to(kind), mask=in1)
        state = state * tl.exp(way1) + added1
        tl.store(at + 2 * step, state.to(kind), mask=in2)
        state = state * tl.exp(way2) + added2
        tl.store(at + 3 * step, state.to(kind), mask=in3)
        state = state * tl.exp(way3) + added3
        at += 4 * step
        way += 4 * way_step


@kernel(
    ({"BLOCK_T": 128, "BLOCK_S": 32}, 4, 3),
    ({"BLOCK_T": 128, "BLOCK_S": 64}, 8, 3),
    ({"BLOCK_T": 64, "BLOCK_S": 64}, 4, 3),
)
def _outputs(
    inputs: HeadInputs,
    queries: SharedRows,
    scores: tl.tensor,
    states: tl.tensor,
    y: tl.tensor,
    sizes: ScanSizes,
    BLOCK_T: tl.constexpr,
    BLOCK_S: tl.constexpr,
) -> None:
    """Computes outputs of a chunk from the state that enters it and from its own steps."""
    head, block = tl.program_id(0) % sizes.H, tl.program_id(0) // sizes.H
    chunk, batch = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    t, p = block * BLOCK_T + tl.arange(0, BLOCK_T), tl.arange(0, sizes.P)
    inside = (chunk * sizes.Q + t < sizes.length)[:, None]
    row = ((batch * sizes.H + head) * sizes.chunks + chunk) * sizes.Q
    first = batch * sizes.length + chunk * sizes.Q
    x = inputs.x + (first * inputs.x_step + head * sizes.P)
    rows = queries.data + first * queries.step
    states += ((batch * sizes.chunks + chunk) * sizes.H + head) * sizes.P * sizes.N
    scores += (batch * sizes.chunks + chunk) * sizes.Q * sizes.Q

    result = tl.zeros([BLOCK_T, sizes.P], dtype=tl.float32)
    BLOCK_N: tl.constexpr = 64
    for start in range(0, sizes.N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        query = tl.load(rows + t[:, None] * queries.step + n[None, :], mask=inside, other=0)
        state = tl.load(states + p[None, :] * sizes.N + n[:, None])
        result = tl.dot(query, state, result, input_precision=sizes.PRECISION)
    way_t = tl.load(inputs.reach + row + t)
    result *= tl.exp(way_t)[:, None]

    # Steps that this block does not see are left out: half of all pairs.
    start_s = block * BLOCK_T if sizes.REVERSE else 0
    end_s = sizes.Q if sizes.REVERSE else (block + 1) * BLOCK_T
    for start in range(start_s, end_s, BLOCK_S):
        s = start + tl.arange(0, BLOCK_S)
        way_s, factor = tl.load(inputs.reach + row + s), tl.load(inputs.weight + row + s)
        seen = s[None, :] >= t[:, None] if sizes.REVERSE else s[None, :] <= t[:, None]
        # Masked before the exponential, which would overflow in the other half.
        way = tl.where(seen, way_t[:, None] - way_s[None, :], float("-inf"))
        pair = tl.load(scores + t[:, None] * sizes.Q + s[None, :]) * tl.exp(way) * factor[None, :]
        here = (chunk * sizes.Q + s < sizes.length)[:, None]
        value = tl.load(x + s[:, None] * inputs.x_step + p[None, :], mask=here, other=0)
        result = tl.dot(pair.to(value.dtype), value, result, input_precision=sizes.PRECISION)
    value = tl.load(x + t[:, None] * inputs.x_step + p[None, :], mask=inside, other=0)
    result += tl.load(inputs.skip + head) * value
    at = y + ((first + t[:, None]) * sizes.H + head) * sizes.P + p[None, :]
    tl.store(at, result.to(y.dtype.element_ty), mask=inside)
