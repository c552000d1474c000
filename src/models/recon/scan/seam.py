"""Mamba-2's scan, convolution and gated norm: Triton kernels on CUDA, plain torch elsewhere.

The kernels of the convolution and the norm have no backward: with gradients both are plain torch.
"""

import importlib.util
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .twin import scan_gradients, selective_scan_reference

Backend = Literal["auto", "cuda", "torch"]
NORM_EPS = 1e-5


def choose_backend(backend: Backend, device: torch.device) -> Literal["cuda", "torch"]:
    """Returns the backend for tensors on `device`; `auto` takes Triton on CUDA if installed."""
    if backend != "auto":
        assert backend != "cuda" or device.type == "cuda", f"backend cuda for tensors on {device}"
        return backend
    usable = device.type == "cuda" and importlib.util.find_spec("triton") is not None
    return "cuda" if usable else "torch"


def selective_scan(
    x: Float[Tensor, "batch length head p"],
    dt: Float[Tensor, "batch length head"],
    A: Float[Tensor, " head"],
    B: Float[Tensor, "batch length state"],
    C: Float[Tensor, "batch length state"],
    D: Float[Tensor, " head"],
    reverse: bool = False,
    backend: Backend = "auto",
) -> Float[Tensor, "batch length head p"]:
    """Computes `S_t = exp(dt_t A) S_{t-1} + dt_t x_t B_t^T`, `y_t = S_t C_t + D x_t` per head.

    Args:
        x: Values of the heads; the result has their type.
        dt: Positive step sizes, float32.
        A: Negative decay rates, float32.
        B: Keys that each token writes to, shared by all heads.
        C: Queries that each token reads with, shared by all heads.
        D: Weights of the skip connection.
        reverse: From the last token to the first: `S_{t+1}` in the place of `S_{t-1}`.
        backend: `torch` is the twin, `cuda` the Triton kernels.
    """
    if choose_backend(backend, x.device) == "torch":
        return selective_scan_reference(x, dt, A, B, C, D, reverse)
    return _KernelScan.apply(x, dt, A, B, C, D, reverse)


class _KernelScan(torch.autograd.Function):
    """The Triton kernels with a backward that recomputes the states instead of keeping them."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, dt: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor, reverse: bool
    ) -> Tensor:
        """Returns the outputs; keeps only the inputs."""
        from .kernels import CHUNK, chunk_scan

        ctx.save_for_backward(x, dt, A, B, C, D)
        ctx.reverse = reverse
        return chunk_scan(x, dt, dt * A, B, C, reverse, CHUNK, D)[0]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradients of all inputs but `reverse`."""
        from .kernels import CHUNK, chunk_scan

        parts = scan_gradients(chunk_scan, ctx.saved_tensors, gradients[0], ctx.reverse, CHUNK)
        return *parts, None


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
        from ..mixing_kernels import causal_conv as kernel

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
        from ..mixing_kernels import gated_norm as kernel

        return kernel(y, gate, weight, total, NORM_EPS)
    normed = F.rms_norm(y * F.silu(gate), weight.shape, weight.to(y.dtype), NORM_EPS)
    return normed if total is None else total + normed


def _fused(backend: Backend, tensors: list[Tensor]) -> bool:
    """Whether the Triton kernels, which have no backward, can take these tensors."""
    if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
        return False
    return choose_backend(backend, tensors[0].device) == "cuda"
