"""A decoder of nano size learns one world by heart, through the objective of the training.

All six trajectories of 17 frames at 176x320 on a GPU, smaller ones elsewhere; squared error alone.
Variables: `OVERFIT_SECONDS` of training (70), `OVERFIT_OUTPUT`, a folder for the pictures.
"""

import math
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float, Int
from src.config.decoder import load_decoder_train_config
from torch import Tensor

import nano  # noqa: F401 (offers the clips of the world to the task)
from src.config.loading import command_line_layer, file_layer
from src.evaluation.metrics import psnr
from src.io.image.image import write_png
from src.io.image.pixels import round_to_uint8
from src.models.data.dataset import ExampleDraw
from src.models.data.example import Example, Targets, unit_color
from src.models.recon.decoder import LatentRecon
from src.rendering.rasterize import rasterize
from src.training.decoder.config import DecoderTrainConfig
from src.training.decoder.data import open_data
from src.training.decoder.task import DecoderObjective, DecoderTask
from src.training.optim import OptimConfig, build_optimizer
from src.training.stopwatch import Stopwatch
from src.visualization import contact_sheet, plot_curve

from .inputs import HEAD_BIAS
from .row import Row

DECIBELS = 30
FOLDER = "configs/nano/training"
STAGE = "3dgs_res_704_1280_views_121_multi_6.yaml"
# Updates until the learning rate is full, and the share of it that remains at the end.
WARM_UP, LAST_SHARE = 30, 0.02
POINTS = 100
# Distance of the Gaussians from their cameras before the first update, in world units.
DISTANCE = 1.5


@dataclass(frozen=True, kw_only=True)
class World:
    """The size of the world's clips, and the settings of the training."""

    height: int = 176
    width: int = 320
    frames: int = 17
    # Targets of an update, out of all frames of all trajectories.
    targets: int = 24
    rate: float = 1e-3
    seconds: float = 70
    seed: int = 15


FULL, SMALL = World(), World(height=48, width=64, frames=9, targets=6, seconds=30)


def run(device: torch.device) -> Iterator[Row]:
    """Yields the PSNR over all frames, with the budget that it has to exceed."""
    world = FULL if device.type == "cuda" else SMALL
    world = replace(world, seconds=float(os.environ.get("OVERFIT_SECONDS", world.seconds)))
    with tempfile.TemporaryDirectory() as name:
        objective, example = prepare(Path(name), world, device)
        curve = learn(objective, example, world)
        color = render_all(objective, example)
    reference = unit_color(_color(example.targets)).float()
    whole = -10 * math.log10(float((color - reference).square().mean()))
    output = os.environ.get("OVERFIT_OUTPUT")
    if output is not None:
        write_pictures(Path(output), color, reference, world)
        write_curve(Path(output), curve, f"{whole:.2f} dB over all {len(color)} frames at the end")
    yield Row(f"updates in {world.seconds:g} s", len(curve), "")
    yield Row("PSNR of the last update's targets", curve[-1], "dB")
    yield Row(f"PSNR of all {len(color)} frames", whole, "dB", budget=DECIBELS)
    yield Row("PSNR of the worst frame", float(psnr(color, reference).min()), "dB")


def prepare(folder: Path, world: World, device: torch.device) -> tuple[DecoderObjective, Example]:
    """Returns the training's objective with a new decoder, and the scene with all its targets."""
    config = _configure(folder, world)
    task = DecoderTask(config)
    # Six short clips are drawn in less time than the worlds' shader takes to compile.
    with torch.compiler.set_stance("force_eager"):
        task.prepare()
    torch.manual_seed(world.seed)
    torch.set_float32_matmul_precision("high")
    objective = task.build(device, Stopwatch())
    _place_gaussians(objective.network.train())
    data = open_data(config)[0]
    return objective, data[ExampleDraw(0)].to(device)


@torch.no_grad()
def _place_gaussians(network: LatentRecon) -> None:
    """Has Gaussians start small, opaque and about as far away as a world is."""
    limits, bias = network.config, network.deconv.bias
    assert bias is not None
    share = (DISTANCE - limits.near) / (limits.far - limits.near)
    bias.copy_(torch.tensor(HEAD_BIAS))
    bias[0] = math.log(share / (1 - share)) - limits.distance_shift


def _configure(folder: Path, world: World) -> DecoderTrainConfig:
    """The nano stage of six trajectories on one world, every frame of which is a target."""
    settings = [
        f"output_dir={folder}/run",
        f"img_size=[{world.height},{world.width}]",
        f"num_input_views={world.frames}",
        f"num_views={2 * world.frames}",
        "sample_num_input_multi_views=false",
        "num_test_scenes=0",
        "lambda_lpips=0",
        "lambda_depth=0",
        "deferred_bp=false",
        f"data.worlds.folder={folder}/data",
        "data.worlds.scenes=1",
        f"data.worlds.seed={world.seed}",
        f"data.worlds.frames={world.frames}",
        "data.worlds.supersample=2",
    ]
    layers = [file_layer(f"{FOLDER}/default.yaml"), file_layer(f"{FOLDER}/{STAGE}")]
    return load_decoder_train_config([*layers, command_line_layer(settings)])


def learn(objective: DecoderObjective, example: Example, world: World) -> list[float]:
    """Trains for some seconds; returns the PSNR of every update, in dB."""
    optim = OptimConfig(learning_rate=world.rate, weight_decay=0.0)
    optimizer = build_optimizer(objective.network, optim)
    generator = torch.Generator().manual_seed(world.seed)
    start, curve, share = 0.0, [], 0.0
    while share < 1:
        rate = world.rate * min(1.0, (len(curve) + 1) / WARM_UP)
        rate *= LAST_SHARE + (1 - LAST_SHARE) * 0.5 * (1 + math.cos(math.pi * share))
        for group in optimizer.param_groups:
            group["lr"] = rate
        chosen = torch.randperm(len(example.targets), generator=generator)[: world.targets]
        terms = objective([replace(example, targets=_pick(example.targets, chosen))])
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(objective.network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        curve.append(float(terms["psnr"]))
        # The time of the first update, in which kernels compile, does not count.
        start = start or time.perf_counter()
        share = (time.perf_counter() - start) / world.seconds
    return curve


@torch.no_grad()
def render_all(objective: DecoderObjective, example: Example) -> Float[Tensor, "frame 3 h w"]:
    """Renders all targets, clamped to [0, 1] as in a file."""
    scenes = objective.scenes
    gaussians = scenes.gaussians(scenes.prepare(example))
    cameras = example.targets.cameras
    indices = torch.arange(len(cameras)).split(8)
    parts = [rasterize(gaussians, cameras[part], objective.config.render) for part in indices]
    return torch.cat([part.color for part in parts]).clamp(0, 1)


def write_pictures(
    folder: Path,
    color: Float[Tensor, "frame 3 h w"],
    reference: Float[Tensor, "frame 3 h w"],
    world: World,
) -> None:
    """Writes `overfit.png`: two frames a trajectory, rendered, true, and their difference x 4."""
    starts = range(0, len(color), world.frames)
    last = world.frames - 1
    chosen = [start + frame for start in starts for frame in (world.frames // 2, last)]
    difference = (0.5 + 2 * (color - reference)).clamp(0, 1)
    rows = torch.stack([part[chosen] for part in (color, reference, difference)], dim=1)
    pictures = round_to_uint8(rows.flatten(0, 1).movedim(1, -1).cpu())
    write_png(folder / "overfit.png", contact_sheet(pictures, columns=6))


def write_curve(folder: Path, curve: list[float], title: str) -> None:
    """Writes `curve.png`: the PSNR of the targets over the updates."""
    size = math.ceil(len(curve) / POINTS)
    parts = torch.tensor(curve).split(size)
    mean = [float(part.mean()) for part in parts]
    std = [float(part.std(correction=0)) for part in parts]
    words = "PSNR of the targets of an update, dB"
    picture = plot_curve(mean, std, title=words, subtitle=title, x=f"updates / {size}")
    write_png(folder / "curve.png", picture)


def _pick(targets: Targets, chosen: Int[Tensor, " kept"]) -> Targets:
    """Returns some of the targets, without depth."""
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
