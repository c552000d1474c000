"""Clips on disk to Gaussians, PLY, rendered frames and videos: the whole run, and its steps.

At full size on a GPU (six trajectories of 121 frames, 704 x 1280) with random weights of the
published architectures, at a tiny size elsewhere.
"""

import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import nn

from src.gaussians import Gaussians
from src.io.clip.clip import ClipPaths, write_clip
from src.io.ply import write_ply
from src.io.video.video import write_video
from src.models.data.sampling import ExampleSamplingConfig
from src.models.recon.blocks import MambaBlock, PatchEmbed
from src.models.recon.decoder import LatentRecon
from src.models.recon.heads import keep_count, keep_indices
from src.reconstruct.config import OutputConfig, ReconstructConfig
from src.reconstruct.inputs import Scenes, ScenesConfig, WeightsConfig, load_scene_decoder
from src.reconstruct.pictures import (
    QUALITY,
    find_references,
    render_trajectories,
    trajectory_quality,
)
from src.reconstruct.run import reconstruct
from src.tokenizer.cosmos import latent_frames
from src.tokenizer.loading import load_statistics

from .inputs import (
    FULL,
    KEY,
    TINY,
    TRAJECTORIES,
    Size,
    synthetic_clip,
    write_decoder,
    write_tokenizer,
)
from .row import Row, peak_memory, reset_peak, seconds, timed

SECONDS_BUDGET, MEMORY_BUDGET, FORWARD_BUDGET, FORWARD_MEMORY_BUDGET = 60, 24, 1.6, 22


def run(device: torch.device) -> Iterator[Row]:
    """Yields time and peak memory of a whole run, then the time of its steps."""
    size = FULL if device.type == "cuda" else TINY
    with tempfile.TemporaryDirectory() as name:
        config = _write_inputs(Path(name), size, device)
        yield from _whole(config, device)
        yield from _steps(config, size, device)


def _write_inputs(folder: Path, size: Size, device: torch.device) -> ReconstructConfig:
    """Writes six clips and random weights; returns the configuration of a run on them."""
    torch.manual_seed(0)
    write_tokenizer(folder / "tokenizer", size.tokenizer, latent_frames(size.frames))
    write_decoder(folder / "decoder", size.decoder)
    for position, name in enumerate(TRAJECTORIES):
        write_clip(ClipPaths(folder / "clips", name, KEY), synthetic_clip(size, position))
    sampling = ExampleSamplingConfig(
        num_input_frames=size.frames,
        trajectory_sampling="fixed",
        fixed_trajectories=list(TRAJECTORIES),
        target_stride=4,
    )
    root, picture = str(folder / "clips"), (size.height, size.width)
    return ReconstructConfig(
        decoder=size.decoder,
        weights=WeightsConfig(path=str(folder / "decoder"), tokenizer=str(folder / "tokenizer")),
        scenes=ScenesConfig(root=root, image_size=picture, sampling=sampling),
        output=OutputConfig(folder=str(folder / "out")),
        device="cuda" if device.type == "cuda" else "cpu",
    )


def _whole(config: ReconstructConfig, device: torch.device) -> Iterator[Row]:
    """Measures the command's work twice: the first run also compiles and tunes kernels."""
    for name in ("first run", "run"):
        # A folder of its own: finished scenes are left alone.
        fresh = replace(config, output=OutputConfig(folder=f"{config.output.folder}/{name}"))
        reset_peak(device)
        elapsed = seconds(partial(reconstruct, fresh), repeats=1, warm_up=0)
        yield Row(f"{name}, weights and files included", elapsed, budget=SECONDS_BUDGET)
        yield peak_memory(f"{name}, peak memory", device, MEMORY_BUDGET)


@torch.no_grad()
def _steps(config: ReconstructConfig, size: Size, device: torch.device) -> list[Row]:
    """Measures one step after another; the command overlaps reading, rendering and writing."""
    rows: list[Row] = []
    with timed(rows, "load weights"):
        decoder = load_scene_decoder(config.weights, config.decoder, device)
    scenes = Scenes(config.scenes, load_statistics(Path(config.weights.tokenizer)))
    with timed(rows, "read latents, cameras and reference frames"):
        example = scenes.first[0]
    with timed(rows, "encode Pluecker maps, rays"):
        scene = decoder.prepare(example)
    reset_peak(device)

    def forward() -> Gaussians:
        return decoder.gaussians(scene)

    gaussians, ratio = forward(), config.decoder.prune_ratio
    assert len(gaussians) == keep_count(size.gaussians, ratio), f"{len(gaussians)} Gaussians"
    assert bool(gaussians.packed().isfinite().all()), "Gaussians that are not finite"
    rows.append(Row("forward, pruning included", seconds(forward, 3), budget=FORWARD_BUDGET))
    rows.append(peak_memory("forward, peak memory", device, FORWARD_MEMORY_BUDGET))
    if device.type == "cuda":
        parts = _breakdown(decoder.model, forward)
        rows += [Row(f"forward, {part}", taken) for part, taken in parts.items()]
    scores = torch.randn(1, size.gaussians, device=device)
    rows.append(Row("choose the kept Gaussians", seconds(lambda: keep_indices(scores, ratio), 3)))
    folder = Path(config.output.folder) / "steps"
    with timed(rows, f"write PLY, {len(gaussians)} Gaussians"):
        write_ply(folder / "scene.ply", gaussians)
    targets = example.targets
    for depth, shown in ((False, "colour"), (True, "colour and depth")):
        options = replace(config.render, depth=depth)
        with timed(rows, f"render {shown} of {len(targets)} frames"):
            rendered = list(render_trajectories(gaussians, targets, options))
    references = find_references(example, decoder.tokenizer, config.output, {})
    assert references.color is not None
    with timed(rows, f"PSNR and SSIM of {len(targets)} frames"):
        for part in rendered:
            trajectory_quality(part, references.color, example)
    frames = [part.color.cpu() for part in rendered]
    with timed(rows, f"write {len(frames)} videos of {len(frames[0])} frames"):
        for position, clip in enumerate(frames):
            write_video(folder / f"{position}.mp4", clip, 24, quality=QUALITY)
    return rows


def _breakdown(model: LatentRecon, forward: Callable[[], object]) -> dict[str, float]:
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
