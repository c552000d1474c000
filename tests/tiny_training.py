"""Trainings of the decoder on the smallest input, as a user configures them."""

from pathlib import Path

from tiny_scene import FRAMES, TinyInput

from src.config.loading import command_line_layer, file_layer, load_train_config
from src.training.checkpoints.files import list_checkpoints
from src.training.decoder.config import DecoderTrainConfig
from src.training.loop.journal import read_journal

DEFAULT = Path("configs/training/default.yaml")


def training_arguments(tiny: TinyInput, out: Path, *settings: str) -> list[str]:
    """Arguments of `train.py`; one input trajectory of FRAMES frames and 2 targets by default."""
    return [
        *("--config", f"{tiny.folder}/tiny.yaml"),
        f"dataset_root={tiny.root}",
        f"output_dir={out}",
        f"num_views={FRAMES + 2}",
        "num_input_multi_views=2",
        "gaussians_prune_ratio=0",
        "mixed_precision='no'",
        "batch_size=1",
        "num_workers=0",
        "lr_warmup_steps=2",
        "lambda_lpips=0",
        *settings,
    ]


def training_config(tiny: TinyInput, out: Path, *settings: str) -> DecoderTrainConfig:
    """The same as a configuration."""
    _, config, *rest = training_arguments(tiny, out, *settings)
    layers = [file_layer(DEFAULT), file_layer(config), command_line_layer(rest)]
    return load_train_config(DecoderTrainConfig, layers)


def losses(folder: Path) -> list[float]:
    """The loss of every step of a run."""
    return [record["loss"] for record in read_journal(folder) if "loss" in record]


def checkpoint_names(folder: Path) -> list[str]:
    """The checkpoints of a run, earliest first."""
    return [path.name for path in list_checkpoints(folder)]
