"""Steps of the decoder's training, stages 7 and 9, by their parts.

On a GPU at full size (six trajectories of 121 frames, 704 x 1280) with random weights of the
published architectures, LPIPS included, on clips of random latents; elsewhere at a tiny size.
"""

import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from src.config.loading import command_line_layer, file_layer
from src.config.tasks import load_train_config
from src.evaluation.lpips import BACKBONE_FILE, LINEAR_FILE, LPIPS, TAPS
from src.io.clip.clip import ClipPaths, write_clip
from src.models.data.dataset import ExampleDraw
from src.models.recon.decoder import LatentRecon
from src.models.recon.scan import seam as scan
from src.models.recon.weights import save_decoder
from src.rendering import deferred
from src.tokenizer.cosmos import VideoTokenizer, latent_frames
from src.tokenizer.loading import save_tokenizer
from src.training.decoder.config import DecoderTrainConfig
from src.training.decoder.data import open_data
from src.training.decoder.task import DecoderTask
from src.training.loop.journal import read_journal
from src.training.loop.run import train

from .reconstruct import FULL, HEAD_BIAS, TINY, Size, synthetic_clip
from .row import Row, seconds
from .sdg import now

WARM_UP = 1
MEMORY_BUDGET = 130
STAGES = {5: "", 7: "_multi_6_prune", 9: "_multi_6_dynamic_prune"}
PARTS = ("data", "encode", "decode", "render", "loss", "backward", "optimizer")
DEFAULTS = "configs/training/default.yaml"
TINY_SETTINGS = ("enc_depth=3", "enc_embed_dim=32", "enc_num_heads=1", "mixed_precision='no'")
KEY = "scene"
# What the workers hand over waits in shared memory: half a gigabyte an example.
SHARED_MEMORY, SHARED_BYTES = "/dev/shm", 8 * 2**30


@dataclass(frozen=True)
class Case:
    """A stage, how many steps of it, and whether LPIPS takes part."""

    stage: int
    steps: int
    lpips: bool = True

    @property
    def name(self) -> str:
        """As rows begin."""
        return f"stage {self.stage}" + ("" if self.lpips else " without LPIPS")


CASES = (Case(7, 3), Case(9, 2), Case(7, 2, lpips=False))


@dataclass
class Calls:
    """Seconds of each call of the functions that were wrapped, by name."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def wrap(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, the time of every call noted under `name`."""

        def timed(*arguments: Any) -> Any:
            start = now()
            result = function(*arguments)
            self.seconds.setdefault(name, []).append(now() - start)
            return result

        return timed

    def of_step(self, name: str, steps: int) -> float:
        """Seconds a step after the warm-up, if the calls spread evenly over all `steps`."""
        calls = self.seconds.get(name, [])
        return sum(calls[len(calls) * WARM_UP // steps :]) / (steps - WARM_UP)


def run(device: torch.device) -> Iterator[Row]:
    """Seconds of a step and of its parts, and the peak of memory."""
    size = FULL if device.type == "cuda" else TINY
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, size)
        for case in CASES:
            yield from _measure(folder, case, size, device)
        for stage in (7, 9):
            config = configure(folder, Case(stage, 1), size)
            data = open_data(config)[0]
            once = seconds(lambda data=data: data[ExampleDraw(0)], repeats=2, warm_up=1)
            yield Row(f"stage {stage}, one worker reads a scene", once)


def write_inputs(folder: Path, size: Size) -> None:
    """A tokenizer, LPIPS, and a still and a moving scene, all random.

    The clips share a video and depth maps; latents and cameras are their own.
    """
    torch.manual_seed(0)
    count = latent_frames(size.frames)
    tokenizer = VideoTokenizer(size.tokenizer, torch.zeros(16, count), torch.ones(16, count))
    save_tokenizer(tokenizer, folder / "tokenizer")
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
    """Random weights in the two published files."""
    folder.mkdir(parents=True)
    network = LPIPS()
    backbone = {name: part for name, part in network.state_dict().items() if "features" in name}
    torch.save(backbone, folder / BACKBONE_FILE)
    widths = enumerate(TAPS.values())
    linear = {f"lin{index}.model.1.weight": torch.rand(1, width, 1, 1) for index, width in widths}
    torch.save(linear, folder / LINEAR_FILE)


def settings(folder: Path, case: Case, size: Size) -> list[str]:
    """What differs from the published stage: inputs, always six trajectories, few steps."""
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
    """The published configuration."""
    return f"configs/training/3dgs_res_704_1280_views_121{STAGES[stage]}.yaml"


def configure(folder: Path, case: Case, size: Size) -> DecoderTrainConfig:
    """The published stage on the inputs in `folder`."""
    layers = [file_layer(DEFAULTS), file_layer(stage_file(case.stage))]
    given = [*settings(folder, case, size), "loop.timing=true"]
    return load_train_config(DecoderTrainConfig, [*layers, command_line_layer(given)])


def write_decoder(folder: Path, stage: int, config: DecoderTrainConfig) -> None:
    """Random weights, whose Gaussians stand before the cameras from the first step on."""
    model = LatentRecon(config.decoder)
    assert model.deconv.bias is not None
    with torch.no_grad():
        model.deconv.bias.copy_(torch.tensor(HEAD_BIAS))
    save_decoder(model, folder / f"decoder_{stage}")


def _measure(folder: Path, case: Case, size: Size, device: torch.device) -> Iterator[Row]:
    """Train a stage for a few steps with all six trajectories."""
    config = configure(folder, case, size)
    write_decoder(folder, case.stage, config)
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with _backward_calls() as calls:
        train(DecoderTask(config), config.loop, config.optim)
    steps = read_journal(Path(config.loop.output_dir))[WARM_UP:]
    for part in ("step", *PARTS):
        median = statistics.median(record[f"seconds_{part}"] for record in steps)
        yield Row(f"{case.name}, {part}", median)
    for name in calls.seconds:
        yield Row(f"{case.name}, backward of it: {name}", calls.of_step(name, case.steps))
    if device.type == "cuda":
        peak = torch.cuda.max_memory_allocated() / 2**30
        yield Row(f"{case.name}, peak memory", peak, "GiB", budget=MEMORY_BUDGET)
        held = torch.cuda.max_memory_reserved() / 2**30
        yield Row(f"{case.name}, memory held by the allocator", held, "GiB", budget=MEMORY_BUDGET)


@contextmanager
def _backward_calls() -> Iterator[Calls]:
    """The seconds of two parts of the backward pass, inside the block."""
    calls = Calls()
    parts: dict[str, Any] = {"rendering": deferred._Deferred, "scans": scan._KernelScan}
    originals = {name: part.backward for name, part in parts.items()}
    for name, part in parts.items():
        part.backward = staticmethod(calls.wrap(name, originals[name]))
    try:
        yield calls
    finally:
        for name, part in parts.items():
            part.backward = staticmethod(originals[name])
