"""A decoder of nano size learns one world by heart, through the objective of the training.

All six trajectories of 17 frames at 176x320 on a GPU, smaller ones elsewhere; squared error alone.
Variables: `OVERFIT_SECONDS` of training (70), `OVERFIT_OUTPUT`, a folder for the pictures.
"""

import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

import nano  # noqa: F401 (offers the clips of the world to the task)
from src.config.loading import command_line_layer, file_layer
from src.config.tasks import load_train_config
from src.io.image.pixels import round_to_uint8
from src.models.data.dataset import ExampleDraw
from src.models.data.example import Example, Targets, unit_color
from src.models.recon.decoder import LatentRecon
from src.models.recon.scene_decoder import SceneConditions, SceneDecoder
from src.rendering.rasterize import rasterize
from src.training.decoder.config import DecoderTrainConfig
from src.training.decoder.data import open_data
from src.training.decoder.task import DecoderObjective, DecoderTask
from src.training.optim import OptimConfig, build_optimizer
from src.training.stopwatch import Stopwatch
from src.visualization.plots import PlotLabels, plot_curve
from src.visualization.sheet import contact_sheet

from .reconstruct import HEAD_BIAS
from .row import Row

DECIBELS = 30
FOLDER = "configs/nano/training"
STAGE = "3dgs_res_704_1280_views_121_multi_6.yaml"
# Of the rate: full after so many updates, and what is left of it at the end.
WARM_UP, LAST_SHARE = 30, 0.02
POINTS = 100
# Of the Gaussians from their cameras, in world units, before the first update.
DISTANCE = 1.5


@dataclass(frozen=True)
class Case:
    """How large the world's clips are, and how they are learned."""

    height: int = 176
    width: int = 320
    frames: int = 17
    # Targets of an update, out of all frames of all trajectories.
    targets: int = 24
    rate: float = 1e-3
    seconds: float = 70
    seed: int = 15


FULL, SMALL = Case(), Case(48, 64, 9, 6, seconds=30)


class RememberingDecoder(SceneDecoder):
    """Encodes a scene once: the same one comes again and again."""

    def batch_conditions(self, examples: Sequence[Example]) -> list[SceneConditions]:
        """Those of the first call."""
        if not hasattr(self, "_first"):
            self._first = super().batch_conditions(examples)
        return self._first


def run(device: torch.device) -> Iterator[Row]:
    """PSNR over all frames, against the budget that it has to exceed."""
    case = FULL if device.type == "cuda" else SMALL
    case = replace(case, seconds=float(os.environ.get("OVERFIT_SECONDS", case.seconds)))
    with tempfile.TemporaryDirectory() as name:
        objective, example = prepare(Path(name), case, device)
        curve = learn(objective, example, case)
        color = render_all(objective, example)
    reference = unit_color(_color(example.targets)).float()
    output = os.environ.get("OVERFIT_OUTPUT")
    if output is not None:
        write_pictures(Path(output), color, reference, curve, case)
    yield Row(f"updates in {case.seconds:g} s", len(curve), "")
    yield Row("PSNR of the last update's targets", curve[-1], "dB")
    yield Row(f"PSNR of all {len(color)} frames", psnr(color, reference), "dB", budget=DECIBELS)
    worst = min(psnr(*pair) for pair in zip(color, reference, strict=True))
    yield Row("PSNR of the worst frame", worst, "dB")


def prepare(folder: Path, case: Case, device: torch.device) -> tuple[DecoderObjective, Example]:
    """The objective of the training with a new decoder, and the scene, every frame a target."""
    config = _configure(folder, case)
    task = DecoderTask(config)
    # Six short clips are drawn in less time than the worlds' shader takes to compile.
    with torch.compiler.set_stance("force_eager"):
        task.prepare()
    torch.manual_seed(case.seed)
    torch.set_float32_matmul_precision("high")
    objective = task.build(device, Stopwatch())
    network = objective.network.train()
    _place_gaussians(network)
    objective.scenes = RememberingDecoder(network, objective.scenes.tokenizer)
    data = open_data(config)[0]
    return objective, data[ExampleDraw(0)].to(device)


@torch.no_grad()
def _place_gaussians(network: LatentRecon) -> None:
    """Gaussians start small, opaque and about as far away as a world is."""
    limits, bias = network.config, network.deconv.bias
    assert bias is not None
    share = (DISTANCE - limits.near) / (limits.far - limits.near)
    bias.copy_(torch.tensor(HEAD_BIAS))
    bias[0] = math.log(share / (1 - share)) - limits.distance_shift


def _configure(folder: Path, case: Case) -> DecoderTrainConfig:
    """The nano stage of six trajectories on one world, every frame of which is a target."""
    settings = [
        f"output_dir={folder}/run",
        f"img_size=[{case.height},{case.width}]",
        f"num_input_views={case.frames}",
        f"num_views={2 * case.frames}",
        "sample_num_input_multi_views=false",
        "num_test_scenes=0",
        "lambda_lpips=0",
        "lambda_depth=0",
        "deferred_bp=false",
        f"data.worlds.folder={folder}/data",
        "data.worlds.scenes=1",
        f"data.worlds.seed={case.seed}",
        f"data.worlds.frames={case.frames}",
        "data.worlds.supersample=2",
    ]
    layers = [file_layer(f"{FOLDER}/default.yaml"), file_layer(f"{FOLDER}/{STAGE}")]
    return load_train_config(DecoderTrainConfig, [*layers, command_line_layer(settings)])


def learn(objective: DecoderObjective, example: Example, case: Case) -> list[float]:
    """Train for some seconds; returns the PSNR of every update, in dB."""
    optim = OptimConfig(learning_rate=case.rate, weight_decay=0.0)
    optimizer = build_optimizer(objective.network, optim)
    generator = torch.Generator().manual_seed(case.seed)
    start, curve, share = 0.0, [], 0.0
    while share < 1:
        rate = case.rate * min(1.0, (len(curve) + 1) / WARM_UP)
        rate *= LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = torch.randperm(len(example.targets), generator=generator)[: case.targets]
        terms = objective([replace(example, targets=_pick(example.targets, chosen))])
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(objective.network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        curve.append(float(terms["psnr"]))
        # Kernels compile in the first update.
        start = start or time.perf_counter()
        share = (time.perf_counter() - start) / case.seconds
    return curve


@torch.no_grad()
def render_all(objective: DecoderObjective, example: Example) -> Float[Tensor, "frame 3 h w"]:
    """All targets as the decoder has learned them, as they would be written to a file."""
    scenes = objective.scenes
    gaussians = scenes.gaussians(scenes.prepare(example))
    cameras = example.targets.cameras
    indices = torch.arange(len(cameras)).split(8)
    parts = [rasterize(gaussians, cameras[part], objective.config.render) for part in indices]
    return torch.cat([part.color for part in parts]).clamp(0, 1)


def psnr(ours: Float[Tensor, "*batch 3 h w"], theirs: Float[Tensor, "*batch 3 h w"]) -> float:
    """Over all pixels of all frames, in dB."""
    return -10 * math.log10(float((ours - theirs).square().mean()))


def write_pictures(
    folder: Path,
    color: Float[Tensor, "frame 3 h w"],
    reference: Float[Tensor, "frame 3 h w"],
    curve: list[float],
    case: Case,
) -> None:
    """`overfit.png`: two frames a trajectory, rendered, target, difference x 4; and the curve."""
    folder.mkdir(parents=True, exist_ok=True)
    starts = range(0, len(color), case.frames)
    chosen = [start + frame for start in starts for frame in (case.frames // 2, case.frames - 1)]
    difference = (0.5 + 2 * (color - reference)).clamp(0, 1)
    rows = torch.stack([part[chosen] for part in (color, reference, difference)], dim=1)
    pictures = round_to_uint8(rows.flatten(0, 1).movedim(1, -1).cpu())
    _write_png(folder / "overfit.png", contact_sheet(pictures, columns=6))
    size = math.ceil(len(curve) / POINTS)
    parts = torch.tensor(curve).split(size)
    labels = PlotLabels(
        "PSNR of the targets of an update, dB",
        f"one world, {len(color)} frames of {case.height}x{case.width}: "
        f"{psnr(color, reference):.2f} dB over all of them at the end",
        f"updates / {size}",
    )
    mean = [float(part.mean()) for part in parts]
    std = [float(part.std(correction=0)) for part in parts]
    _write_png(folder / "curve.png", plot_curve(mean, std, labels))


def _write_png(path: Path, picture: UInt8[Tensor, "h w 3"]) -> None:
    from PIL import Image

    Image.fromarray(picture.numpy()).save(path)


def _pick(targets: Targets, chosen: Int[Tensor, " kept"]) -> Targets:
    """Some of the targets."""
    chosen = chosen.to(targets.frame.device)
    return replace(
        targets,
        cameras=targets.cameras[chosen],
        trajectory=targets.trajectory[chosen],
        frame=targets.frame[chosen],
        color=_color(targets)[chosen],
        depth=None,
    )


def _color(targets: Targets) -> Tensor:
    assert targets.color is not None, "targets without pictures"
    return targets.color
