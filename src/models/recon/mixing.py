"""The causal convolution before the scan, and the gated norm after it.

Plain torch, differentiable; on CUDA without gradients, one Triton kernel each.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .scan.seam import Backend, choose_backend

NORM_EPS = 1e-5


def causal_conv(
    sequence: Float[Tensor, "batch length channel"],
    weight: Float[Tensor, "channel 1 tap"],
    bias: Float[Tensor, " channel"],
    reverse: bool = False,
    backend: Backend = "auto",
) -> Float[Tensor, "batch length channel"]:
    """Returns `silu` of a depthwise convolution over each token and the tokens before it.

    Reversed, it takes the tokens after it; the first tap weighs the farthest.
    """
    if _fused(backend, [sequence, weight, bias]):
        from .mixing_kernels import causal_conv as kernel

        return kernel(sequence, weight, bias, reverse)
    context = weight.shape[-1] - 1
    taps = weight.flip(-1) if reverse else weight
    padded = F.pad(sequence.mT, (0, context) if reverse else (context, 0))
    result = F.conv1d(padded, taps.to(padded.dtype), bias.to(padded.dtype), groups=len(bias))
    return F.silu(result).mT


def gated_norm(
    y: Float[Tensor, "batch length channel"],
    gate: Float[Tensor, "batch length channel"],
    weight: Float[Tensor, " channel"],
    total: Float[Tensor, "batch length channel"] | None = None,
    backend: Backend = "auto",
) -> Float[Tensor, "batch length channel"]:
    """Returns `total` plus the RMS norm of the gated values `y silu(gate)`.

    `total` may be overwritten if no gradient is needed.
    """
    if _fused(backend, [y, gate, weight] if total is None else [y, gate, weight, total]):
        from .mixing_kernels import gated_norm as kernel

        return kernel(y, gate, weight, total, NORM_EPS)
    normed = F.rms_norm(y * F.silu(gate), weight.shape, weight.to(y.dtype), NORM_EPS)
    return normed if total is None else total + normed


def _fused(backend: Backend, tensors: list[Tensor]) -> bool:
    """Whether the Triton kernels, which have no backward, can take these tensors."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return False
    return choose_backend(backend, tensors[0].device) == "cuda"
