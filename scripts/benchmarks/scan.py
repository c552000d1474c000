"""The selective scan at the decoder's largest size: kernels, gradients, and fla-core beside."""

import importlib.util
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from src.models.recon.scan.seam import Backend, selective_scan

from .row import Row, seconds

FULL, SMALL, CHECKED = 337_920, 3_960, 20_000
HEADS, WIDTH, STATE = 16, 64, 256
# 1.15 times the published 4.9 ms of mamba-ssm's kernel for one direction.
BUDGET = 1.15 * 4.9e-3
TOLERANCE = 1e-2
Arguments = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def make(length: int, device: torch.device, dtype: torch.dtype) -> Arguments:
    """Returns arguments as a decoder block makes them: x, B and C are slices of one tensor."""
    generator = torch.Generator(device).manual_seed(0)
    shape = (1, length, HEADS * WIDTH + 2 * STATE)
    mixed = torch.randn(shape, generator=generator, device=device).to(dtype)
    x, B, C = mixed.split([HEADS * WIDTH, STATE, STATE], dim=-1)
    dt = torch.rand(1, length, HEADS, generator=generator, device=device) * 0.1
    A = -1 - 15 * torch.rand(HEADS, generator=generator, device=device)
    D = torch.ones(HEADS, device=device)
    return x.unflatten(-1, (HEADS, WIDTH)), dt, A, B, C, D


@torch.enable_grad()
def training_step(
    arguments: Arguments, reverse: bool, backend: Backend
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Returns the scan and its gradients for a fixed cotangent."""
    leaves = [part.detach().requires_grad_() for part in arguments]
    x, dt, A, B, C, D = leaves
    y = selective_scan(x, dt, A, B, C, D, reverse, backend)
    cotangent = torch.sin(torch.arange(y.numel(), device=y.device) * 0.1).view(y.shape)
    return y, torch.autograd.grad(y, leaves, cotangent.to(y.dtype))


def linear_attention(arguments: Arguments) -> Callable[[], object]:
    """The same forward scan by fla-core's gated linear attention, keys repeated for each head."""
    from fla.ops.simple_gla import chunk_simple_gla

    x, dt, A, B, C, D = arguments

    def call() -> Tensor:
        keys, queries = (part[:, :, None].expand(-1, -1, HEADS, -1) for part in (B, C))
        values = x * dt[..., None].to(x.dtype)
        y, _ = chunk_simple_gla(queries, keys, values, dt * A, scale=1.0)
        return y + D.to(x.dtype)[:, None] * x

    return call


def errors(device: torch.device) -> Iterator[Row]:
    """Yields the distance of the kernels from the twin, both on bfloat16 inputs."""
    arguments = make(CHECKED, device, torch.bfloat16)
    exact = tuple(part.float() for part in arguments)
    for reverse in (False, True):
        ours = training_step(arguments, reverse, "cuda")
        twin = training_step(exact, reverse, "torch")  # pyright: ignore[reportArgumentType]
        pairs = zip(("y", "dx", "ddt", "dA", "dB", "dC", "dD"), (ours[0], *ours[1]), strict=True)
        for (name, a), b in zip(pairs, (twin[0], *twin[1]), strict=True):
            error = ((a.float() - b).norm() / b.norm()).item()
            direction = "reverse" if reverse else "forward"
            yield Row(f"{direction} relative error of {name}", error, "", budget=TOLERANCE)


@torch.no_grad()
def run(device: torch.device) -> Iterator[Row]:
    """Yields the time of a direction: kernels in bfloat16 on a GPU, the float32 twin on a CPU."""
    if device.type == "cpu":
        arguments = make(SMALL, device, torch.float32)
        for reverse in (False, True):
            name = f"twin, {SMALL} tokens, {'reverse' if reverse else 'forward'}"
            yield Row(name, seconds(lambda r=reverse: selective_scan(*arguments, reverse=r)))
        return
    arguments = make(FULL, device, torch.bfloat16)
    name = f"kernels, {FULL} tokens"
    peer = None
    if importlib.util.find_spec("fla") is not None:
        peer = ("fla-core", seconds(linear_attention(arguments)))
    forward = seconds(lambda: selective_scan(*arguments))
    yield Row(f"{name}, forward", forward, peer=peer, budget=BUDGET)
    reverse = seconds(lambda: selective_scan(*arguments, reverse=True))
    yield Row(f"{name}, reverse", reverse, budget=BUDGET)
    both = seconds(lambda: training_step(arguments, False, "cuda"))
    yield Row(f"{name}, forward and backward", both)
    yield from errors(device)
