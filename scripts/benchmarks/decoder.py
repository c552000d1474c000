"""The forward pass of the decoder: six trajectories at full size on a GPU, a small one on a CPU."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from src.models.recon.blocks import MambaBlock, PatchEmbed
from src.models.recon.decoder import Decoded, DecoderConfig, LatentRecon

from .row import Row, peak_memory, reset_peak, seconds

BUDGET, MEMORY_BUDGET = 1.6, 22.0


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Trajectories, latent frames, and the size of a latent."""

    trajectories: int
    latent_frames: int
    height: int
    width: int

    @property
    def frames(self) -> int:
        """Number of frames that the latent frames decode to."""
        return 8 * (self.latent_frames - 1) + 1

    @property
    def gaussians(self) -> int:
        """Number of Gaussians before pruning."""
        return self.trajectories * self.frames * self.height * self.width


FULL = Grid(trajectories=6, latent_frames=16, height=88, width=160)
SMALL = Grid(trajectories=1, latent_frames=3, height=22, width=40)


def make(size: Grid, device: torch.device) -> tuple[LatentRecon, list[Tensor]]:
    """Returns a decoder with random weights, bfloat16 on a GPU, and inputs with float32 rays."""
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
    """Returns the seconds of the parts of a forward pass, by CUDA events around the modules."""
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


def check_counts(size: Grid, decoded: Decoded) -> None:
    """Checks the number of kept Gaussians, and that they are finite."""
    kept = len(decoded.gaussians)
    assert kept == int(size.gaussians * (1 - 0.8)), f"{kept} of {size.gaussians} Gaussians"
    assert size != FULL or (size.gaussians, kept) == (10_222_080, 2_044_415), f"{kept}"
    assert bool(torch.isfinite(decoded.gaussians.packed()).all()), "Gaussians that are not finite"


@torch.inference_mode()
def run(device: torch.device) -> Iterator[Row]:
    """Yields the time of the forward pass with pruning, peak memory, and the time of its parts."""
    on_gpu = device.type == "cuda"
    size = FULL if on_gpu else SMALL
    model, inputs = make(size, device)
    forward = partial(model, *inputs)
    tokens = size.trajectories * size.latent_frames * size.height * size.width // 4
    name = f"{size.trajectories} trajectories, {tokens} tokens"
    # Compiles the kernels too, which must not count.
    check_counts(size, forward())
    reset_peak(device)
    yield Row(name, seconds(forward), budget=BUDGET if on_gpu else None)
    yield peak_memory(f"{name}, peak", device, MEMORY_BUDGET)
    if on_gpu:
        for part, time in breakdown(model, forward).items():
            yield Row(f"{name}, {part}", time)
