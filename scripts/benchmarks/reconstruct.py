"""Clips on disk to Gaussians, PLY, rendered frames and videos: whole runs, and their parts.

At full size on a GPU (six trajectories of 121 frames, 704 x 1280) with random weights of the
published architectures, at a tiny size elsewhere. `reconstruct:process` measures new processes of
`sample.py` alone, `reconstruct:steps` and `reconstruct:runs` what happens in this one.
"""

import logging
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from cosmos_predict1.diffusion.fitting import limit_memory
from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.geometry.rays import pluecker
from src.io.clip.clip import ClipPaths, write_clip
from src.models.data.sampling import ExampleSamplingConfig
from src.models.recon.blocks import MambaBlock, PatchEmbed
from src.models.recon.decoder import LatentRecon
from src.models.recon.heads import keep_count, keep_indices
from src.reconstruct.clock import LOGGER
from src.reconstruct.config import OutputConfig, ReconstructConfig
from src.reconstruct.inputs import Scenes, ScenesConfig, WeightsConfig, load_scene_decoder
from src.reconstruct.run import reconstruct
from src.tokenizer.cosmos import VideoTokenizer, latent_frames
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
from .rendering import as_trained
from .rendering import frames as rendering_rows
from .row import Row, check_parts, logged, now, peak_memory, reset_peak, seconds, timed

SECONDS_BUDGET, PROCESS_BUDGET, MEMORY_BUDGET = 12, 20, 24
FORWARD_BUDGET, FORWARD_MEMORY_BUDGET = 1.2, 22
# The configuration of `sample.py` at the tiny size, with the folder of its inputs.
TINY_SETTINGS = """\
data_mode: [[lyra_static, 1]]
img_size: [32, 48]
num_input_views: 9
num_views: 12
num_input_multi_views: 6
enc_depth: 3
enc_embed_dim: 32
enc_num_heads: 1
gaussians_prune_ratio: 0.8
"""
# `sample.py`, which also logs the seconds of its parts.
PROCESS = """\
import logging, sys
logging.getLogger("src.reconstruct.clock").setLevel(logging.DEBUG)
import sample
sample.main()
"""
PART = re.compile(r"src\.reconstruct\.clock: (.+): ([\d.]+) s$", re.MULTILINE)
# Parts of other threads than the main one, by the beginning of their names.
BESIDE = ("write", "read ", "digest inputs")
Parts = dict[str, float]
MEASURED = ("steps", "runs", "process")
# A GPU of so many GB, by a cap of torch's allocator.
LIMIT = 12.0
LIMITED = f"run on known cameras with {LIMIT:g} GB"


def run(device: torch.device, parts: Sequence[str] = MEASURED) -> Iterator[Row]:
    """Yields the time of single steps, then time and peak memory of whole runs with their parts."""
    check_parts(parts, MEASURED)
    size = FULL if device.type == "cuda" else TINY
    with tempfile.TemporaryDirectory() as name:
        config = _write_inputs(Path(name), size, device)
        if "steps" in parts:
            yield from _steps(config, size, device)
        if "runs" in parts:
            yield from _whole(config, device)
        if "process" in parts:
            yield from _processes(config, size)


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
    """Measures runs in this process, of which the first also compiles and tunes kernels."""
    # Each folder has its own encoded cameras.
    runs = {
        "first run": "first",
        "run": "second",
        "run on known cameras": "second",
        LIMITED: "second",
    }
    for name, folder in runs.items():
        if name == LIMITED and device.type == "cuda":
            limit_memory(LIMIT, device)
        output = OutputConfig(folder=f"{config.output.folder}/{folder}", finished="remake")
        reset_peak(device)
        with logged(LOGGER, logging.DEBUG) as records:
            run_config = replace(config, output=output)
            elapsed = seconds(partial(reconstruct, run_config), repeats=1, warm_up=0)
        yield from _accounted(name, elapsed, _summed(records), SECONDS_BUDGET)
        yield peak_memory(f"{name}, peak memory", device, MEMORY_BUDGET)


def _processes(config: ReconstructConfig, size: Size) -> Iterator[Row]:
    """Measures runs in processes of their own, which load from Python on.

    An earlier one has compiled kernels, as the first run on a machine does.
    """
    first = "the machine's first process"
    runs = {first: "a", "new process": "b", "new process on known cameras": "b"}
    for name, folder in runs.items():
        arguments = [*_arguments(config, size, folder), "output.finished=remake"]
        command = [sys.executable, "-c", PROCESS, *arguments]
        start = now()
        done = subprocess.run(command, check=True, stderr=subprocess.PIPE, text=True)
        elapsed, parts = now() - start, defaultdict[str, float](float)
        for part, taken in PART.findall(done.stderr):
            parts[part] += float(taken)
        budget = None if name == first else PROCESS_BUDGET
        yield from _accounted(name, elapsed, parts, budget)


def _arguments(config: ReconstructConfig, size: Size, name: str) -> list[str]:
    """Returns the arguments with which `sample.py` makes the same run in a folder of this name."""
    folder = Path(config.output.folder)
    settings = folder.with_name("tiny.yaml")
    settings.write_text(TINY_SETTINGS)
    return [
        *("--config", "configs/demo/lyra_static.yaml"),
        f"dataset_root={config.scenes.root}",
        f"ckpt_path={config.weights.path}",
        f"vae_path={config.weights.tokenizer}",
        f"out_dir_inference={folder}/{name}",
        f"device={config.device}",
        *([f"config_path=[configs/training/default.yaml,{settings}]"] if size == TINY else []),
    ]


def _summed(records: Iterable[logging.LogRecord]) -> Parts:
    """Returns the seconds of a run's parts; those of the same name are added up."""
    parts: Parts = defaultdict(float)
    for record in records:
        assert isinstance(record.args, tuple)
        name, taken = record.args
        parts[str(name)] += float(str(taken))
    return parts


def _accounted(name: str, elapsed: float, parts: Parts, budget: float | None) -> Iterator[Row]:
    """Yields a run, its parts one after another, what no part names, and the parts beside."""
    yield Row(f"{name}, weights and files included", elapsed, budget=budget)
    main = {part: taken for part, taken in parts.items() if not part.startswith(BESIDE)}
    for part, taken in main.items():
        yield Row(f"{name}, {part}", taken)
    yield Row(f"{name}, all else", elapsed - sum(main.values()))
    for part in parts.keys() - main.keys():
        yield Row(f"{name}, beside: {part}", parts[part])


@torch.no_grad()
def _steps(config: ReconstructConfig, size: Size, device: torch.device) -> Iterator[Row]:
    """Measures one step after another, each to its end."""
    rows: list[Row] = []
    with timed(rows, "load weights"):
        decoder = load_scene_decoder(config.weights, config.decoder, device)
        tokenizer = decoder.tokenizer
    scenes = Scenes(config.scenes, load_statistics(Path(config.weights.tokenizer)))
    with timed(rows, "read latents, cameras and reference frames"):
        example = scenes.first[0]
    with timed(rows, "encode Pluecker maps, rays"):
        scene = decoder.prepare(example)
    yield from rows
    yield from _encoders(tokenizer, example.cameras.to(device))
    reset_peak(device)

    def forward() -> Gaussians:
        return decoder.gaussians(scene)

    gaussians, ratio = forward(), config.decoder.prune_ratio
    assert len(gaussians) == keep_count(size.gaussians, ratio), f"{len(gaussians)} Gaussians"
    assert bool(gaussians.packed().isfinite().all()), "Gaussians that are not finite"
    yield Row("forward, pruning included", seconds(forward, 3), budget=FORWARD_BUDGET)
    yield peak_memory("forward, peak memory", device, FORWARD_MEMORY_BUDGET)
    if device.type == "cuda":
        parts = _breakdown(decoder.model, forward)
        yield from (Row(f"forward, {part}", taken) for part, taken in parts.items())
    scores = torch.randn(1, size.gaussians, device=device)
    yield Row("choose the kept Gaussians", seconds(lambda: keep_indices(scores, ratio), 3))
    for sizes, shown in {
        "random sizes": gaussians,
        "trained sizes": as_trained(gaussians, example.targets.cameras[:1]),
    }.items():
        yield from rendering_rows(shown, example.targets, config.render, sizes)


def _encoders(tokenizer: VideoTokenizer, cameras: Cameras) -> Iterator[Row]:
    """Yields the time of half a trajectory's maps, beside that of diffusers' network."""
    from diffusers import AutoencoderKLCosmos

    half = pluecker(cameras[0]).transpose(0, 1)[None, 3:]
    ours = tokenizer.autoencoder
    theirs: Any = AutoencoderKLCosmos(**cast(Any, tokenizer.architecture))
    theirs.load_state_dict(ours.state_dict())
    theirs.to(half.device, ours.dtype).requires_grad_(False)

    def peer() -> torch.Tensor:
        return theirs.encode(half.to(ours.dtype)).latent_dist.mode()

    taken = seconds(lambda: tokenizer.encode(half), 2)
    yield Row("encode half a trajectory", taken, peer=("diffusers' network", seconds(peer, 2)))
    found, wanted = tokenizer.encode(half).float(), peer().float()
    yield Row(
        "their distance, relative by norm", float((found - wanted).norm() / wanted.norm()), ""
    )


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
