"""A forward of the full-size network: exact and in 8 bits, beside diffusers'.

Weights are random, and let every layer matter: outputs of about unit variance, and attention that
is not uniform. Parts, as in `forward:exact,both`: `exact`, `compiled`, `products`, `both`,
`attention`, `kernels`. On a CPU the network is tiny, and only its products are in 8 bits.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.attention import sdpa_kernel

from cosmos_predict1.diffusion.conditioning.latents import Conditions, Prepared
from cosmos_predict1.diffusion.model.architecture import TransformerConfig
from cosmos_predict1.diffusion.model.block import TransformerBlock
from cosmos_predict1.diffusion.model.kernels.attention import BACKENDS, attend, attend_8_bit
from cosmos_predict1.diffusion.model.kernels.rows import store_in_float8
from cosmos_predict1.diffusion.model.network import Gen3CTransformer

from .generator import FULL, FULL_LATENT, NANO, NANO_LATENT, PEER, peer_seconds, random_network
from .row import Row, check_parts, peak_memory, reset_peak, seconds

PARTS = ("exact", "products", "both", "attention", "kernels")
ORDER = ("exact", "compiled", "products", "both", "attention")
EXACT_BUDGET, FLOAT8_BUDGET = 3.35, 2.4
# Heads of the attention that is measured alone.
HEADS = 8


@dataclass
class Bench:
    """A network with its inputs, and the results that others are compared with."""

    network: Gen3CTransformer
    x: Tensor
    level: Tensor
    prepared: Prepared
    output: Tensor
    # The tokens between the blocks.
    tokens: list[Tensor]

    @property
    def blocks(self) -> list[TransformerBlock]:
        """The transformer's blocks."""
        return [cast(TransformerBlock, block) for block in self.network.transformer_blocks]

    def forward(self) -> Tensor:
        """Returns the network's output."""
        return self.network(self.x, self.level, self.prepared)

    def errors(self) -> list[float]:
        """Returns the relative error of each block's change, all from exact tokens."""
        found: list[float] = []

        def compare(block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            exact = self.tokens[len(found) + 1]
            found.append(relative(output - exact, exact - inputs[0]))
            return exact

        hooks = [block.register_forward_hook(compare) for block in self.blocks]
        self.forward()
        for hook in hooks:
            hook.remove()
        return found


def relative(error: Tensor, of: Tensor) -> float:
    """Returns the norm of an error, relative to that of something."""
    return float(torch.linalg.vector_norm(error.float()) / torch.linalg.vector_norm(of.float()))


def make(config: TransformerConfig, latent: tuple[int, int, int], device: torch.device) -> Bench:
    """Returns a network whose parts all matter, and noise with conditions; always the same."""
    torch.manual_seed(0)
    on_gpu = device.type == "cuda"
    network = random_network(config, device, torch.bfloat16 if on_gpu else torch.float32)
    for parameter in network.parameters():
        if parameter.ndim == 2:
            nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
        else:
            nn.init.ones_(parameter)
    x, level = torch.randn(1, 16, *latent, device=device), torch.zeros(1, device=device)
    warps = torch.randn(1, config.warp_channels, *latent, device=device)
    text = torch.randn(1, 512 if on_gpu else 1, config.text_embed_dim, device=device)
    prepared = network.prepare(Conditions(text, torch.zeros_like(x[:, :1]), warps))
    return Bench(network, x, level, prepared, x, [])


def record(bench: Bench) -> None:
    """Keeps the output and the tokens between the blocks of a forward in plain torch."""

    def keep(block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # The first block's tokens are the only ones that no block made.
        bench.tokens += [inputs[0], output] if not bench.tokens else [output]

    hooks = [block.register_forward_hook(keep) for block in bench.blocks]
    bench.output = bench.forward()
    for hook in hooks:
        hook.remove()


@torch.inference_mode()
def run(device: torch.device, parts: Sequence[str] = PARTS) -> Iterator[Row]:
    """Yields seconds, errors and memory of the chosen parts."""
    check_parts(parts, (*PARTS, "compiled"))
    on_gpu = device.type == "cuda"
    config, latent = (FULL, FULL_LATENT) if on_gpu else (NANO, NANO_LATENT)
    bench = make(config, latent, device)
    for block in bench.blocks:
        block.backend = "torch"
    record(bench)
    with sdpa_kernel(BACKENDS, set_priority=True):
        theirs = (PEER, peer_seconds(bench.network, bench.x, bench.level, bench.prepared, 1))
    if "exact" in parts:
        yield Row("forward, plain torch", seconds(bench.forward, repeats=1, warm_up=0), peer=theirs)
    for block in bench.blocks:
        block.backend = "auto"
    for part in filter(parts.__contains__, ORDER):
        if part == "attention":
            # The same weights again, in bfloat16.
            bench.network = make(config, latent, device).network
        _prepare(bench.blocks, part)
        budget = {"exact": EXACT_BUDGET, "both": FLOAT8_BUDGET}.get(part) if on_gpu else None
        # Compiled blocks stay compiled.
        with torch.compiler.set_stance("default" if part == "compiled" else "force_eager"):
            yield from _measure(bench, part, theirs, budget)
    if "kernels" in parts and on_gpu:
        yield from _kernels(device)


def _prepare(blocks: Sequence[TransformerBlock], part: str) -> None:
    for block in blocks:
        if part in ("products", "both"):
            store_in_float8(block)
        block.attention = "float8" if part in ("attention", "both") else "exact"


def _measure(
    bench: Bench, part: str, theirs: tuple[str, float], budget: float | None
) -> Iterator[Row]:
    name = {"exact": "fused kernels", "compiled": "blocks compiled"}.get(part, f"8-bit {part}")
    device = bench.x.device
    if part == "compiled":
        bench.network.compile_blocks()
    reset_peak(device)
    taken = seconds(bench.forward, repeats=1)
    yield Row(f"forward, {name}", taken, peer=theirs, budget=budget)
    between = sum(part.nbytes for part in bench.tokens) / 2**30
    peak = peak_memory(f"peak memory, {name}", device)
    yield Row(peak.name, peak.ours - between, peak.unit)
    error = relative(bench.forward() - bench.output, bench.output)
    yield Row(f"error of the output, {name}", error, "of its norm")
    if part != "compiled":
        errors = sorted(bench.errors())
        yield Row(f"error of a block, median, {name}", errors[len(errors) // 2], "of its change")
        yield Row(f"error of a block, largest, {name}", errors[-1], "of its change")


def _kernels(device: torch.device) -> Iterator[Row]:
    """Measures attention alone: the fastest exact one, and that in 8 bits."""
    frames, rows, columns = FULL_LATENT
    shape = (1, frames * rows * columns // 4, HEADS, FULL.attention_head_dim)
    query, key, value = (torch.randn(shape, device=device).to(torch.bfloat16) for _ in range(3))
    exact = attend(query, key, value)
    theirs = ("the fastest of torch", seconds(lambda: attend(query, key, value), repeats=3))
    taken = seconds(lambda: attend_8_bit(query, key, value), repeats=3)
    yield Row(f"attention of {HEADS} heads in 8 bits", taken, peer=theirs)
    error = relative(attend_8_bit(query, key, value) - exact, exact)
    yield Row("error of attention in 8 bits", error, "of its norm")
