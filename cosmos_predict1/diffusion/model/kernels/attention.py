"""Attention of heads: torch's exact kernels, of which the fastest is measured, and an 8-bit one.

Heads are `[batch, token, head, channel]`. In 8 bits (after SageAttention, Zhang et al. 2024 and
2025), the keys' mean is subtracted first, which changes no softmax; queries, keys, weights and
values are float8_e4m3fn.
"""

import time
from functools import cache

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from src.models.recon.jit import tl
from src.runtime import get_logger

from . import attention_kernels as kernels
from .rows import FLOAT8, LARGEST, LEAST

LOGGER = get_logger(__name__)
# cuDNN's is the fastest on Hopper; the others take the shapes that it does not.
BACKENDS = [
    SDPBackend.CUDNN_ATTENTION,
    SDPBackend.FLASH_ATTENTION,
    SDPBackend.EFFICIENT_ATTENTION,
    SDPBackend.MATH,
]
# Pairs of tokens from which a measurement pays, and the gain for which the order is left. Smaller
# gains could be noise, and runs should repeat each other.
MEASURED_PAIRS, GAIN = 2**26, 0.9
GROUP = 128
Heads = Float[Tensor, "batch token head channel"]
Sources = Float[Tensor, "batch source head channel"]
_FASTEST: dict[tuple[object, ...], SDPBackend | None] = {}


def attend(query: Heads, key: Sources, value: Sources) -> Heads:
    """Returns exact attention, by the backend that is the fastest for such tensors."""
    q, k, v = (part.transpose(1, 2) for part in (query, key, value))
    backend = None
    if query.is_cuda and not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        backend = _fastest(q, k, v)
    if backend is None:
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
    with sdpa_kernel(backend):
        return F.scaled_dot_product_attention(q, k, v).transpose(1, 2)


def _fastest(query: Tensor, key: Tensor, value: Tensor) -> SDPBackend | None:
    """Returns the fastest backend, measured once in a process; None for the order around."""
    if query.shape[-2] * key.shape[-2] < MEASURED_PAIRS:
        return None
    kind = (query.device, query.dtype, query.shape, key.shape)
    if kind not in _FASTEST:
        seconds: dict[SDPBackend, float] = {}
        # The last one would need the memory of all pairs.
        for backend in BACKENDS[:-1]:
            try:
                seconds[backend] = min(_seconds(backend, query, key, value) for _ in range(2))
            except RuntimeError as error:
                LOGGER.info("%s does not take %s: %s", backend.name, tuple(query.shape), error)
        chosen = next(iter(seconds), None)
        for backend, taken in seconds.items():
            if chosen is not None and taken < GAIN * seconds[chosen]:
                chosen = backend
        LOGGER.info("attention by %s of %s", chosen, seconds)
        _FASTEST[kind] = chosen
    return _FASTEST[kind]


def _seconds(backend: SDPBackend, query: Tensor, key: Tensor, value: Tensor) -> float:
    torch.cuda.synchronize(query.device)
    start = time.perf_counter()
    with sdpa_kernel(backend):
        F.scaled_dot_product_attention(query, key, value)
    torch.cuda.synchronize(query.device)
    return time.perf_counter() - start


@cache
def attends_in_8_bits(device: torch.device) -> bool:
    """Whether `attend_8_bit` runs on a device: a GPU of compute capability 9.0 or later."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


def attend_8_bit(query: Heads, key: Heads, value: Heads) -> Heads:
    """Returns attention with queries, keys, weights and values in float8_e4m3fn.

    For `attends_in_8_bits` devices, heads whose channels are a power of two, and logits within
    1,400 of 0.
    """
    batch, length, heads, channels = key.shape
    assert query.shape == key.shape == value.shape, (query.shape, key.shape, value.shape)
    query, key, value = query.contiguous(), key.contiguous(), value.contiguous()
    groups = -(-length // GROUP)
    with torch.cuda.device_of(query):
        queries, query_scale = _quantised(query, None)
        keys, key_scale = _quantised(key, key.mean(1, dtype=torch.float32))
        least, most = value.aminmax(dim=1)
        value_scale = torch.maximum(most, -least).float().clamp_min(LEAST) / LARGEST
        # Tensor cores read 8-bit operands along the tokens.
        shape = (batch * heads, channels, groups * GROUP)
        values = torch.empty(shape, dtype=FLOAT8, device=value.device)
        kernels.quantise_values[(groups, heads, batch)](
            _with_sizes(value), value_scale, values, length, num_warps=8
        )
        out = torch.empty_like(query)
        kernels.attend[lambda meta: (-(-length // meta["BLOCK_M"]), batch * heads)](
            queries,
            keys,
            values,
            kernels.Scales(query_scale, key_scale, value_scale),
            _with_sizes(out),
            length,
        )
    return out


def _quantised(
    x: Heads, mean: Float[Tensor, "batch head channel"] | None
) -> tuple[Float[Tensor, "row padded channel"], Float[Tensor, "row scale"]]:
    """Returns `x - mean` in 8 bits by heads; a scale for each token, with a mean for each group."""
    batch, length, heads, channels = x.shape
    groups = -(-length // GROUP)
    out = torch.empty(batch * heads, groups * GROUP, channels, dtype=FLOAT8, device=x.device)
    count = groups * GROUP if mean is None else groups
    scale = torch.empty(batch * heads, count, dtype=torch.float32, device=x.device)
    kernels.quantise_heads[(groups, heads, batch)](
        _with_sizes(x), mean, out, scale, length, BY_ROW=mean is None, LARGEST=LARGEST, num_warps=8
    )
    return out, scale


def _with_sizes(x: Heads) -> kernels.TokenHeads:
    length, heads, channels = x.shape[1:]
    return kernels.TokenHeads(
        data=x,
        heads=heads,
        padded=-(-length // GROUP) * GROUP,
        D=tl.constexpr(channels),
        GROUP=tl.constexpr(GROUP),
        EVEN=tl.constexpr(length % GROUP == 0),
    )
