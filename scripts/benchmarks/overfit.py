"""A decoder of nano size learns one world by heart, through the loop of `train.py`.

All six trajectories of 17 frames at 176x320 on a GPU, smaller ones elsewhere; squared error alone.
Variables: `OVERFIT_SECONDS` of training (100), `OVERFIT_OUTPUT`, a folder for the pictures.
"""

import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

import nano  # noqa: F401 (offers the clips of the world to the task)
from src.checkpoints.steps import newest_sound
from src.config.loading import command_line_layer, file_layer, load_train_config
from src.evaluation.metrics import psnr
from src.io.image import round_to_uint8, write_png
from src.models.data.dataset import ExampleDraw
from src.models.data.example import unit_color
from src.models.recon.decoder import DecoderConfig, LatentRecon, load_decoder, save_decoder
from src.training.decoder.config import DecoderTrainConfig
from src.training.decoder.data import open_data
from src.training.decoder.task import DecoderTask
from src.training.loop.journal import read_journal
from src.training.loop.run import train
from src.training.task import Stopwatch
from src.visualization import contact_sheet, plot_curve

from .inputs import HEAD_BIAS
from .row import Row

DECIBELS = 30
FOLDER = "configs/nano/training"
STAGE = "3dgs_res_704_1280_views_121_multi_6.yaml"
POINTS = 100
# Distance of the Gaussians from their cameras before the first update, in world units.
DISTANCE = 1.5
# By device: height, width and frames, frames that an update renders of each trajectory, seconds.
WORLDS = {"cuda": (176, 320, 17, 4, 100), "cpu": (48, 64, 9, 1, 30)}
# Settings of every world; squared error is the only loss, and no Gaussian is pruned.
SETTINGS = (
    *("sample_num_input_multi_views=false", "num_test_scenes=0", "deferred_bp=false"),
    *("lambda_lpips=0", "lambda_depth=0", "mixed_precision='no'", "learning_rate=1e-3"),
    *("lr_warmup_steps=30", "optim.schedule=cosine", "optim.final_share=0.02"),
    *("gaussians_prune_ratio=0", "loss.solid=0", "optim.method=adamw"),
    *("optim.weight_decay=0", "batch_size=1", "checkpointing_steps=1000000"),
    *("loop.stage_steps=1000000", "loop.report_every=1", "loop.validate_every=0"),
    *("data.worlds.scenes=1", "data.worlds.seed=15", "data.worlds.supersample=2"),
)


def run(device: torch.device) -> Iterator[Row]:
    """Yields the PSNR over all frames, with the budget that it has to exceed."""
    seconds = float(os.environ.get("OVERFIT_SECONDS", WORLDS[device.type][4]))
    with tempfile.TemporaryDirectory() as name:
        config = _configure(Path(name), device, WORLDS[device.type][3], seconds)
        _write_start(Path(name) / "start", config.decoder)
        # Six short clips are drawn in less time than the worlds' shader takes to compile.
        with torch.compiler.set_stance("force_eager"):
            train(DecoderTask(config), config.loop, config.optim)
        curve = [record["psnr"] for record in read_journal(Path(config.loop.output_dir))]
        color, reference = _render_all(Path(name), device)
    whole = -10 * math.log10(float((color - reference).square().mean()))
    output = os.environ.get("OVERFIT_OUTPUT")
    if output is not None:
        _write_pictures(Path(output), color, reference, WORLDS[device.type][2])
        _write_curve(Path(output), curve, f"{whole:.2f} dB over all {len(color)} frames at the end")
    yield Row(f"updates in {seconds:g} s", len(curve), "")
    yield Row("PSNR of the last update's targets", curve[-1], "dB")
    yield Row(f"PSNR of all {len(color)} frames", whole, "dB", budget=DECIBELS)
    yield Row("PSNR of the worst frame", float(psnr(color, reference).min()), "dB")


def _configure(
    folder: Path, device: torch.device, targets: int, seconds: float
) -> DecoderTrainConfig:
    """The nano stage of six trajectories on one world, with `targets` frames of each trajectory."""
    height, width, frames = WORLDS[device.type][:3]
    settings = [
        *SETTINGS,
        f"output_dir={folder}/run",
        f"loop.initial_weights={folder}/start",
        f"loop.total_minutes={seconds / 60}",
        f"img_size=[{height},{width}]",
        f"num_input_views={frames}",
        f"num_views={frames + targets}",
        f"num_workers={4 if device.type == 'cuda' else 0}",
        f"data.worlds.folder={folder}/data",
        f"data.worlds.frames={frames}",
    ]
    layers = [file_layer(f"{FOLDER}/default.yaml"), file_layer(f"{FOLDER}/{STAGE}")]
    return load_train_config(DecoderTrainConfig, [*layers, command_line_layer(settings)])


@torch.no_grad()
def _write_start(folder: Path, config: DecoderConfig) -> None:
    """Writes weights whose Gaussians are small, opaque and about as far away as a world is."""
    network = LatentRecon(config)
    bias = network.deconv.bias
    assert bias is not None
    share = (DISTANCE - config.near) / (config.far - config.near)
    bias.copy_(torch.tensor(HEAD_BIAS))
    bias[0] = math.log(share / (1 - share)) - config.distance_shift
    save_decoder(network, folder)


@torch.no_grad()
def _render_all(
    folder: Path, device: torch.device
) -> tuple[Float[Tensor, "frame 3 h w"], Float[Tensor, "frame 3 h w"]]:
    """Returns all frames of all trajectories in [0, 1]: as the trained network's, and the true."""
    config = _configure(folder, device, WORLDS[device.type][2], 1)
    objective = DecoderTask(config).build(device, Stopwatch())
    weights = newest_sound(folder / "run")
    assert weights is not None, "a training without a checkpoint"
    objective.network.load_state_dict(load_decoder(weights).state_dict())
    example = open_data(config)[0][ExampleDraw(0)].to(device)
    assert example.targets.color is not None, "targets without pictures"
    color = objective([example], pictures=True)["color"][0].clamp(0, 1)
    return color, unit_color(example.targets.color).float()


def _write_pictures(
    folder: Path,
    color: Float[Tensor, "frame 3 h w"],
    reference: Float[Tensor, "frame 3 h w"],
    frames: int,
) -> None:
    """Writes `overfit.png`: two frames a trajectory, rendered, true, and their difference x 4."""
    starts = range(0, len(color), frames)
    chosen = [start + frame for start in starts for frame in (frames // 2, frames - 1)]
    difference = (0.5 + 2 * (color - reference)).clamp(0, 1)
    rows = torch.stack([part[chosen] for part in (color, reference, difference)], dim=1)
    pictures = round_to_uint8(rows.flatten(0, 1).movedim(1, -1).cpu())
    write_png(folder / "overfit.png", contact_sheet(pictures, columns=6))


def _write_curve(folder: Path, curve: list[float], title: str) -> None:
    """Writes `curve.png`: the PSNR of the targets over the updates."""
    size = math.ceil(len(curve) / POINTS)
    parts = torch.tensor(curve).split(size)
    mean = [float(part.mean()) for part in parts]
    std = [float(part.std(correction=0)) for part in parts]
    words = "PSNR of the targets of an update, dB"
    picture = plot_curve(mean, std, title=words, subtitle=title, x=f"updates / {size}")
    write_png(folder / "curve.png", picture)
