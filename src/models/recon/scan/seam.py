"""The selective state space scan by Triton kernels on CUDA, and by plain torch elsewhere."""

import importlib.util
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .gradient import scan_gradients
from .twin import selective_scan_reference

Backend = Literal["auto", "cuda", "torch"]


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
