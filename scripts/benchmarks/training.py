"""Steps of the decoder's training, stages 7 and 9, by their parts.

At full size on a GPU (six trajectories of 121 frames, 704 x 1280) with random weights of the
published architectures, LPIPS included, on clips of random latents; at a tiny size elsewhere.
"""

import os
import shutil
import statistics
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from src.config.loading import command_line_layer, file_layer, load_train_config
from src.evaluation.metrics import BACKBONE_FILE, LINEAR_FILE, LPIPS, TAPS
from src.io.clip.clip import ClipPaths, write_clip
from src.models.data.dataset import ExampleDraw
from src.tokenizer.cosmos import latent_frames
from src.training.decoder.config import DecoderTrainConfig
from src.training.decoder.data import open_data
from src.training.decoder.task import DecoderTask
from src.training.loop.journal import read_journal
from src.training.loop.run import train

from .inputs import FULL, KEY, TINY, Size, synthetic_clip, write_decoder, write_tokenizer
from .row import GIB, Row, peak_memory, reset_peak, seconds

WARM_UP = 1
MEMORY_BUDGET = 130
STAGES = {5: "", 7: "_multi_6_prune", 9: "_multi_6_dynamic_prune"}
PARTS = ("data", "encode", "decode", "render", "loss", "backward", "optimizer")
# Parts of the backward pass, by the names that autograd gives them in a profile.
BACKWARD = {"rendering": "_DeferredBackward", "scans": "_KernelScanBackward"}
DEFAULTS = "configs/training/default.yaml"
TINY_SETTINGS = ("enc_depth=3", "enc_embed_dim=32", "enc_num_heads=1", "mixed_precision='no'")
# Workers hand examples over in shared memory, half a gigabyte each.
SHARED_MEMORY, SHARED_BYTES = "/dev/shm", 8 * GIB


@dataclass(frozen=True)
class StageCase:
    """A stage, the number of its steps, and whether LPIPS takes part."""

    stage: int
    steps: int
    lpips: bool = True

    @property
    def name(self) -> str:
        """The beginning of its rows."""
        return f"stage {self.stage}" + ("" if self.lpips else " without LPIPS")


CASES = (StageCase(7, 3), StageCase(9, 2), StageCase(7, 2, lpips=False))


def run(device: torch.device) -> Iterator[Row]:
    """Yields the time of a step and of its parts, and peak memory."""
    size = FULL if device.type == "cuda" else TINY
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, size)
        for case in CASES:
            yield from _measure(folder, case, size, device)
        for stage in (7, 9):
            data = open_data(configure(folder, StageCase(stage, 1), size))[0]
            once = seconds(partial(data.__getitem__, ExampleDraw(0)), repeats=2)
            yield Row(f"stage {stage}, one worker reads a scene", once)


def write_inputs(folder: Path, size: Size) -> None:
    """Writes a tokenizer, LPIPS, and a still and a moving scene, all random.

    The clips share a video and depth maps; latents and cameras are their own.
    """
    torch.manual_seed(0)
    write_tokenizer(folder / "tokenizer", size.tokenizer, latent_frames(size.frames))
    _write_lpips(folder / "checkpoints" / "lpips")
    slope = 1 + torch.arange(size.height)[:, None] / size.height
    depth = slope.expand(size.frames, size.height, size.width)
    first: ClipPaths | None = None
    for kind, number in (("static", 6), ("dynamic", 12)):
        for position in range(number):
            paths = ClipPaths(folder / kind, str(position), KEY)
            clip = replace(synthetic_clip(size, position), depth=depth)
            if first is not None:
                for part in ("rgb", "depth"):
                    paths.part(part).parent.mkdir(parents=True, exist_ok=True)
                    os.link(first.part(part), paths.part(part))
                clip = replace(clip, frames=None, depth=None)
            write_clip(paths, clip)
            first = first or paths


def _write_lpips(folder: Path) -> None:
    """Writes random weights in the two published files."""
    folder.mkdir(parents=True)
    network = LPIPS()
    backbone = {name: part for name, part in network.state_dict().items() if "features" in name}
    torch.save(backbone, folder / BACKBONE_FILE)
    widths = enumerate(TAPS.values())
    linear = {f"lin{index}.model.1.weight": torch.rand(1, width, 1, 1) for index, width in widths}
    torch.save(linear, folder / LINEAR_FILE)


def settings(folder: Path, case: StageCase, size: Size) -> list[str]:
    """The differences from the published stage: inputs, always six trajectories, few steps."""
    targets = 12 if case.stage == 9 else 9
    workers = 2 if shutil.disk_usage(SHARED_MEMORY).free > SHARED_BYTES else 0
    return [
        f"output_dir={folder}/{case.name.replace(' ', '_')}",
        f"dataset_root={folder}/{'dynamic' if case.stage == 9 else 'static'}",
        f"vae_path={folder}/tokenizer",
        f"checkpoint_dir={folder}/checkpoints",
        f"resume_pretrained_model_ckpt={folder}/decoder_{case.stage}",
        f"img_size=[{size.height},{size.width}]",
        f"num_input_views={size.frames}",
        f"num_views={size.frames + min(targets, size.frames)}",
        "sample_num_input_multi_views=false",
        "num_test_scenes=0",
        f"num_workers={workers}",
        f"max_train_steps={case.steps}",
        "loop.validate_every=0",
        *(() if case.lpips else ("lambda_lpips=0",)),
        *(TINY_SETTINGS if size == TINY else ()),
    ]


def stage_file(stage: int) -> str:
    """The path of the published configuration."""
    return f"configs/training/3dgs_res_704_1280_views_121{STAGES[stage]}.yaml"


def configure(folder: Path, case: StageCase, size: Size) -> DecoderTrainConfig:
    """The published stage on the inputs in `folder`."""
    layers = [file_layer(DEFAULTS), file_layer(stage_file(case.stage))]
    given = [*settings(folder, case, size), "loop.timing=true"]
    return load_train_config(DecoderTrainConfig, [*layers, command_line_layer(given)])


def _measure(folder: Path, case: StageCase, size: Size, device: torch.device) -> Iterator[Row]:
    """Trains a stage for a few steps; yields the time of its parts, and peak memory."""
    config = configure(folder, case, size)
    write_decoder(folder / f"decoder_{case.stage}", config.decoder)
    reset_peak(device)
    # The time of the GPU's kernels where they run there.
    on_gpu = device.type == "cuda"
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with profile(activities=activities) as profiler:
        train(DecoderTask(config), config.loop, config.optim)
    steps = read_journal(Path(config.loop.output_dir))[WARM_UP:]
    for part in ("step", *PARTS):
        median = statistics.median(record[f"seconds_{part}"] for record in steps)
        yield Row(f"{case.name}, {part}", median)
    for part, name in BACKWARD.items():
        calls = [event for event in profiler.events() or () if event.name == name]
        # All steps have equally many.
        calls = calls[len(calls) * WARM_UP // case.steps :]
        total = sum(call.device_time_total if on_gpu else call.cpu_time_total for call in calls)
        mean = total / 1e6 / (case.steps - WARM_UP)
        yield Row(f"{case.name}, backward of it: {part}", mean)
    yield peak_memory(f"{case.name}, peak memory", device, MEMORY_BUDGET)
    if on_gpu:
        held = torch.cuda.max_memory_reserved() / GIB
        yield Row(f"{case.name}, memory held by the allocator", held, "GiB", budget=MEMORY_BUDGET)
