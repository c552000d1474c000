"""The twin's `chunk_scan` in Triton (Dao & Gu 2024, section 6).

Three kernels compute the contribution of each chunk to the state, the states that enter the chunks,
and the outputs. All heads share keys and queries, whose products one matrix product makes. Indices:
`t` and `s` are steps of a chunk (`t` sees `s`), `p` a head's channels, `n` the state's.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..jit import kernel, tl
from .twin import into_chunks

CHUNK = 256


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

    sizes = {"H": heads, "P": width, "N": state, "Q": chunk, "REVERSE": reverse}
    states = torch.empty(batch, chunks, heads, width, state, dtype=x.dtype, device=x.device)
    y = torch.empty(batch, length, heads, width, dtype=x.dtype, device=x.device)
    with torch.cuda.device_of(x):
        _states[lambda meta: (heads * state // meta["BLOCK_N"], chunks, batch)](
            x,
            weight,
            reach,
            keys,
            states,
            length,
            chunks,
            x.stride(1),
            keys.stride(1),
            **sizes,
            PRECISION=precision,
        )
        _entering[(width * state // 256, heads, batch)](
            states, reach, chunks, **sizes, BLOCK=256, num_warps=1
        )
        _outputs[lambda meta: (heads * chunk // meta["BLOCK_T"], chunks, batch)](
            x,
            weight,
            reach,
            queries,
            scores,
            states,
            skip,
            y,
            length,
            chunks,
            x.stride(1),
            queries.stride(1),
            **sizes,
            PRECISION=precision,
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
def _states(  # noqa: PLR0913 (a kernel takes pointers, strides and sizes one by one)
    x: tl.tensor,
    weight: tl.tensor,
    reach: tl.tensor,
    keys: tl.tensor,
    states: tl.tensor,
    length: tl.tensor,
    chunks: tl.tensor,
    x_step: tl.tensor,
    key_step: tl.tensor,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    Q: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_S: tl.constexpr,
) -> None:
    """Computes the contribution of each chunk to the state at the edge where the scan leaves it."""
    # Heads are neighbours in the grid, so that their shared keys come from the cache.
    head, block = tl.program_id(0) % H, tl.program_id(0) // H
    # 64 bits: offsets into long sequences exceed 2^31.
    chunk, batch = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    p, n = tl.arange(0, P), block * BLOCK_N + tl.arange(0, BLOCK_N)
    row = ((batch * H + head) * chunks + chunk) * Q
    x += (batch * length + chunk * Q) * x_step + head * P
    keys += (batch * length + chunk * Q) * key_step
    # The running sum ends with the decay through the whole chunk.
    total = tl.load(reach + row + (0 if REVERSE else Q - 1))
    added = tl.zeros([P, BLOCK_N], dtype=tl.float32)
    for start in range(0, Q, BLOCK_S):
        s = start + tl.arange(0, BLOCK_S)
        # `weight` and `reach` are padded to whole chunks, the sequences are not.
        inside = chunk * Q + s < length
        factor = tl.load(weight + row + s) * tl.exp(total - tl.load(reach + row + s))
        value = tl.load(x + s[None, :] * x_step + p[:, None], mask=inside[None, :], other=0)
        key = tl.load(keys + s[:, None] * key_step + n[None, :], mask=inside[:, None], other=0)
        value = (value * factor[None, :]).to(key.dtype)
        added = tl.dot(value, key, added, input_precision=PRECISION)
    out = states + ((batch * chunks + chunk) * H + head) * P * N
    tl.store(out + p[:, None] * N + n[None, :], added.to(states.dtype.element_ty))


@kernel()
def _entering(  # noqa: PLR0913
    states: tl.tensor,
    reach: tl.tensor,
    chunks: tl.tensor,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    Q: tl.constexpr,
    REVERSE: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """Replaces the contributions of the chunks by the states that enter them."""
    head, batch = tl.program_id(1), tl.program_id(2).to(tl.int64)
    first = chunks - 1 if REVERSE else 0
    step: tl.constexpr = -H * P * N if REVERSE else H * P * N
    way_step: tl.constexpr = -Q if REVERSE else Q
    at = states + ((batch * chunks + first) * H + head) * P * N
    at += tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    way = reach + ((batch * H + head) * chunks + first) * Q + (0 if REVERSE else Q - 1)
    kind = states.dtype.element_ty
    # The state stays in float32 and only stored copies are rounded, so errors don't add up.
    state = tl.zeros([BLOCK], dtype=tl.float32)
    for start in range(0, chunks, 4):
        # Four loads run at once: one alone would wait for the memory.
        in1, in2, in3 = start + 1 < chunks, start + 2 < chunks, start + 3 < chunks
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
    ({"BLOCK_T": 128, "BLOCK_S": 32, "BLOCK_N": 64}, 4, 3),
    ({"BLOCK_T": 128, "BLOCK_S": 64, "BLOCK_N": 64}, 8, 3),
    ({"BLOCK_T": 64, "BLOCK_S": 64, "BLOCK_N": 64}, 4, 3),
)
def _outputs(  # noqa: PLR0913
    x: tl.tensor,
    weight: tl.tensor,
    reach: tl.tensor,
    queries: tl.tensor,
    scores: tl.tensor,
    states: tl.tensor,
    skip: tl.tensor,
    y: tl.tensor,
    length: tl.tensor,
    chunks: tl.tensor,
    x_step: tl.tensor,
    query_step: tl.tensor,
    H: tl.constexpr,
    P: tl.constexpr,
    N: tl.constexpr,
    Q: tl.constexpr,
    REVERSE: tl.constexpr,
    PRECISION: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_S: tl.constexpr,
    BLOCK_N: tl.constexpr,
) -> None:
    """Computes outputs of a chunk from the state that enters it and from its own steps."""
    head, block = tl.program_id(0) % H, tl.program_id(0) // H
    chunk, batch = tl.program_id(1).to(tl.int64), tl.program_id(2).to(tl.int64)
    t, p = block * BLOCK_T + tl.arange(0, BLOCK_T), tl.arange(0, P)
    inside = (chunk * Q + t < length)[:, None]
    row = ((batch * H + head) * chunks + chunk) * Q
    x += (batch * length + chunk * Q) * x_step + head * P
    queries += (batch * length + chunk * Q) * query_step
    states += ((batch * chunks + chunk) * H + head) * P * N
    scores += (batch * chunks + chunk) * Q * Q

    result = tl.zeros([BLOCK_T, P], dtype=tl.float32)
    for start in range(0, N, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        query = tl.load(queries + t[:, None] * query_step + n[None, :], mask=inside, other=0)
        state = tl.load(states + p[None, :] * N + n[:, None])
        result = tl.dot(query, state, result, input_precision=PRECISION)
    way_t = tl.load(reach + row + t)
    result *= tl.exp(way_t)[:, None]

    # Steps that this block does not see are left out: half of all pairs.
    first = block * BLOCK_T if REVERSE else 0
    last = Q if REVERSE else (block + 1) * BLOCK_T
    for start in range(first, last, BLOCK_S):
        s = start + tl.arange(0, BLOCK_S)
        way_s, factor = tl.load(reach + row + s), tl.load(weight + row + s)
        seen = s[None, :] >= t[:, None] if REVERSE else s[None, :] <= t[:, None]
        # Masked before the exponential, which would overflow in the other half.
        way = tl.where(seen, way_t[:, None] - way_s[None, :], float("-inf"))
        pair = tl.load(scores + t[:, None] * Q + s[None, :]) * tl.exp(way) * factor[None, :]
        here = (chunk * Q + s < length)[:, None]
        value = tl.load(x + s[:, None] * x_step + p[None, :], mask=here, other=0)
        result = tl.dot(pair.to(value.dtype), value, result, input_precision=PRECISION)
    value = tl.load(x + t[:, None] * x_step + p[None, :], mask=inside, other=0)
    result += tl.load(skip + head) * value
    at = y + ((batch * length + chunk * Q + t[:, None]) * H + head) * P + p[None, :]
    tl.store(at, result.to(y.dtype.element_ty), mask=inside)
