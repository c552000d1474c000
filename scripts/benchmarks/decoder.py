"""The decoder's forward pass: six trajectories at full size on a GPU, a small one on a CPU."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.recon.blocks import MambaBlock, PatchEmbed
from src.models.recon.decoder import Decoded, DecoderConfig, LatentRecon

from .row import Row, seconds

BUDGET, MEMORY_BUDGET = 1.6, 22.0
GIB = 2**30


@dataclass(frozen=True)
class Size:
    """What is decoded: trajectories, latent frames and the latent grid."""

    trajectories: int
    latent_frames: int
    height: int
    width: int

    @property
    def frames(self) -> int:
        """Frames out of the latent frames."""
        return 8 * (self.latent_frames - 1) + 1

    @property
    def gaussians(self) -> int:
        """Gaussians before pruning."""
        return self.trajectories * self.frames * self.height * self.width


FULL = Size(trajectories=6, latent_frames=16, height=88, width=160)
SMALL = Size(trajectories=1, latent_frames=3, height=22, width=40)


def make(size: Size, device: torch.device) -> tuple[LatentRecon, list[Tensor]]:
    """A decoder with random weights, bfloat16 on a GPU, and inputs with float32 rays."""
    torch.manual_seed(0)
    trunk = torch.bfloat16 if device.type == "cuda" else torch.float32
    with torch.device(device):
        model = LatentRecon(DecoderConfig(prune_ratio=0.8)).to(trunk).eval()
        nn.init.normal_(model.patch_plucker_embed.proj.weight, std=0.02)
        grid = (size.height, size.width)
        clip = (1, size.trajectories, size.latent_frames)
        latents = torch.randn(*clip, 16, *grid, dtype=trunk)
        pluecker = torch.randn(*clip, 32, *grid, dtype=trunk)
        rays = (1, size.trajectories, size.frames, 3)
        origins = torch.randn(*rays, 1, 1).expand(*rays, *grid)
        directions = F.normalize(torch.randn(*rays, *grid), dim=3)
    return model, [latents, pluecker, origins, directions]


def breakdown(model: LatentRecon, forward: Callable[[], object]) -> dict[str, float]:
    """Seconds in the parts of one forward pass on a GPU, by events around the modules."""
    events: dict[str, list[tuple[torch.cuda.Event, torch.cuda.Event]]] = defaultdict(list)
    handles = []

    def record() -> torch.cuda.Event:
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def watch(name: str, module: nn.Module) -> None:
        starts: list[torch.cuda.Event] = []
        handles.append(module.register_forward_pre_hook(lambda *_: starts.append(record())))
        handles.append(
            module.register_forward_hook(lambda *_: events[name].append((starts.pop(), record())))
        )

    for module in model.children():
        if isinstance(module, PatchEmbed):
            watch("patch embeddings", module)
    for block in model.enc_blocks:
        watch("Mamba blocks" if isinstance(block, MambaBlock) else "attention blocks", block)
    start = record()
    forward()
    end = record()
    torch.cuda.synchronize()
    for handle in handles:
        handle.remove()
    parts = {name: sum(a.elapsed_time(b) for a, b in pairs) / 1e3 for name, pairs in events.items()}
    return parts | {"norm, head and pruning": start.elapsed_time(end) / 1e3 - sum(parts.values())}


def check_counts(size: Size, decoded: Decoded) -> None:
    """The numbers of Gaussians are exact facts, not measurements."""
    kept = len(decoded.gaussians)
    assert kept == int(size.gaussians * (1 - 0.8)), f"{kept} of {size.gaussians} Gaussians"
    assert size != FULL or (size.gaussians, kept) == (10_222_080, 2_044_415), f"{kept}"
    assert bool(torch.isfinite(decoded.gaussians.packed()).all()), "Gaussians that are not finite"


@torch.inference_mode()
def run(device: torch.device) -> Iterator[Row]:
    """Seconds, their breakdown and peak memory of the forward pass, pruning included."""
    size = FULL if device.type == "cuda" else SMALL
    model, inputs = make(size, device)
    tokens = size.trajectories * size.latent_frames * size.height * size.width // 4
    name = f"{size.trajectories} trajectories, {tokens} tokens"
    # Also compiles the kernels, which must not count.
    check_counts(size, model(*inputs))
    if device.type == "cpu":
        yield Row(name, seconds(lambda: model(*inputs), repeats=3))
        return
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats(device)
    yield Row(name, seconds(lambda: model(*inputs)), budget=BUDGET)
    peak = torch.cuda.max_memory_allocated(device) / GIB
    yield Row(f"{name}, peak", peak, "GiB", budget=MEMORY_BUDGET)
    for part, time in breakdown(model, lambda: model(*inputs)).items():
        yield Row(f"{name}, {part}", time)
