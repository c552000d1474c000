"""A forward pass and the tokenizer under the plans of `--memory`, each under a cap of its memory.

The transformer has random weights: full size on a GPU, in bfloat16, a small one on a CPU, where
nothing is capped. A cap is that of the command: torch's allocator may take the budget less the
context. Full size needs 16 GiB of the host's memory. The part `memory:clip` runs the whole command
with one step of sampling, by its own code, under each budget; `memory:forward` is the default.
Memory in use is that of all programs on the GPU, with what torch keeps for later.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.fitting import limit_memory
from cosmos_predict1.diffusion.memory import PLANS
from cosmos_predict1.diffusion.model.chunks import chunk_tokens
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.model.offload import stream_blocks
from cosmos_predict1.diffusion.model.text import MAX_TOKENS
from src.tokenizer.cosmos import VideoTokenizer

from .generator import FULL, FULL_LATENT, NANO, NANO_LATENT, random_network
from .inputs import TINY_TOKENIZER
from .row import GIB, Row, check_parts, peak_memory, reset_peak, seconds
from .sdg import NO_TEXT, SMALL, ClipBench, write_input, write_weights

BUDGETS = ("max", "12", "8")
# Of the time of a forward pass, at --memory 12.
MOST_TIMES = 1.15
# Tokens at a time of the small network.
SMALL_CHUNK = 64
PARTS = ("forward", "clip")


@dataclass(frozen=True, kw_only=True)
class MemoryCase:
    """The networks on random weights, and their inputs."""

    network: Gen3CTransformer
    tokenizer: VideoTokenizer
    conditions: Conditions
    x: Tensor

    @property
    def device(self) -> torch.device:
        """The device of all computation."""
        return self.x.device

    def forward(self) -> Tensor:
        """Returns the output of one forward pass, the preparation of its conditions included."""
        level = self.x.new_zeros(1)
        return self.network(self.x, level, self.network.prepare(self.conditions))


def run(device: torch.device, parts: Sequence[str] = PARTS[:1]) -> Iterator[Row]:
    """Yields the rows of the chosen parts."""
    check_parts(parts, PARTS)
    if "forward" in parts:
        yield from _forward_rows(device)
    if "clip" in parts:
        yield from _clip_rows(device)


@torch.inference_mode()
def _forward_rows(device: torch.device) -> Iterator[Row]:
    """Yields time and peak of a forward pass, an encoding and a decoding for each budget."""
    full = device.type == "cuda"
    case = _case(device, full)
    wanted, plain = case.forward(), 0.0
    for budget in BUDGETS:
        name, plan = f"--memory {budget}", PLANS[budget]
        if budget == BUDGETS[1]:
            case.network.to("cpu")
            stream_blocks(case.network, device)
        if plan.chunk_tokens:
            chunk_tokens(case.network, plan.chunk_tokens if full else SMALL_CHUNK)
        case.tokenizer.latent_frames_at_once = plan.tokenizer_frames
        if full and budget != "max":
            limit_memory(float(budget), device)
        reset_peak(device)
        distance = ((case.forward() - wanted).norm() / wanted.norm()).item()
        took = seconds(case.forward, repeats=2, warm_up=0)
        plain = plain or took
        limit = MOST_TIMES * plain if budget == "12" else None
        yield Row(f"{name}, forward", took, peer=(BUDGETS[0], plain), budget=limit)
        yield Row(f"{name}, distance from {BUDGETS[0]}, relative by norm", distance, "")
        yield peak_memory(f"{name}, forward, peak", device)
        yield from _tokenizer_rows(name, case)
        if full:
            yield _in_use(f"{name}, GPU memory in use", device)


def _case(device: torch.device, full: bool) -> MemoryCase:
    """Returns the networks, of full size or small ones, and random inputs."""
    config, latent = (FULL, FULL_LATENT) if full else (NANO, NANO_LATENT)
    dtype = torch.bfloat16 if full else torch.float32
    torch.manual_seed(0)
    x = torch.randn(1, 16, *latent, device=device)
    warps = torch.randn(1, config.warp_channels, *latent, device=device)
    text = torch.randn(1, MAX_TOKENS, config.text_embed_dim, device=device)
    mean, std = torch.zeros(16, latent[0]), torch.ones(16, latent[0])
    tokenizer = VideoTokenizer({} if full else TINY_TOKENIZER, mean, std)
    return MemoryCase(
        network=random_network(config, device, dtype),
        tokenizer=tokenizer.requires_grad_(False).eval().to(device, dtype),
        conditions=Conditions(text, torch.zeros_like(x[:, :1]), warps),
        x=x,
    )


def _tokenizer_rows(name: str, case: MemoryCase) -> Iterator[Row]:
    """Measures decoding a clip, and encoding it again."""
    reset_peak(case.device)
    decode = partial(case.tokenizer.decode, case.x)
    video = decode().float()
    yield Row(f"{name}, decode a clip", seconds(decode, repeats=1, warm_up=0))
    yield peak_memory(f"{name}, decode, peak", case.device)
    reset_peak(case.device)
    encode = partial(case.tokenizer.encode, video)
    yield Row(f"{name}, encode a clip", seconds(encode, repeats=1))
    yield peak_memory(f"{name}, encode, peak", case.device)


def _clip_rows(device: torch.device) -> Iterator[Row]:
    """Makes a clip of one step by the command's own code under each budget."""
    config = FULL if device.type == "cuda" else SMALL
    if device.type == "cuda":
        # The cap of the last budget is too small to make the weights.
        torch.cuda.set_per_process_memory_fraction(1.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_weights(folder / "weights", config, device)
        write_input(folder, config.sampling.height, config.sampling.width)
        # Compiles kernels.
        ClipBench(folder, device, [NO_TEXT]).clip(1)
        for budget in BUDGETS if device.type == "cuda" else BUDGETS[:1]:
            reset_peak(device)
            maker = ClipBench(folder, device, [NO_TEXT, "--memory", budget])
            yield Row(f"--memory {budget}, a clip of one step, with loading", maker.clip(1))
            yield peak_memory(f"--memory {budget}, clip, peak", device)
            if device.type == "cuda":
                held = torch.cuda.memory_reserved(device) / GIB
                yield Row(f"--memory {budget}, clip, held by the allocator", held, "GiB")
                yield _in_use(f"--memory {budget}, clip, GPU memory in use", device)


def _in_use(name: str, device: torch.device) -> Row:
    """Returns a row of the memory that the GPU itself counts as taken."""
    free, total = torch.cuda.mem_get_info(device)
    return Row(name, (total - free) / GIB, "GiB")
