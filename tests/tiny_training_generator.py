"""Trainings of the generator on the smallest worlds, as a user configures them."""

from dataclasses import asdict
from pathlib import Path

from tiny_generator import NETWORK
from tiny_scene import tiny_tokenizer

from cosmos_predict1.training.config import GeneratorTrainConfig
from src.config.loading import command_line_layer, file_layer, load_train_config
from src.tokenizer.loading import save_tokenizer

CONFIG = "configs/nano/training/generator.yaml"
SIZES = (
    "num_attention_heads",
    "attention_head_dim",
    "num_layers",
    "text_embed_dim",
    "adaln_lora_dim",
    "max_size",
)


def generator_arguments(folder: Path, *settings: str) -> list[str]:
    """Arguments of `train.py` for two steps on two worlds; the tokenizer is written once."""
    if not (folder / "tokenizer").is_dir():
        save_tokenizer(tiny_tokenizer(), folder / "tokenizer")
    sizes = {
        name: str(list(value) if isinstance(value, tuple) else value).replace(" ", "")
        for name, value in NETWORK.architecture.items()
        if name in SIZES
    }
    sampling = asdict(NETWORK.sampling)
    return [
        *("--config", CONFIG),
        f"tokenizer={folder}/tokenizer",
        f"loop.output_dir={folder}/run",
        *(f"network.{name}={value}" for name, value in sizes.items()),
        *(f"network.gen3c.{name}={value}" for name, value in sampling.items() if value != ()),
        "data.worlds.static=1",
        "data.worlds.dynamic=1",
        "data.worlds.trajectories=1",
        "validation.worlds.static=1",
        "validation.worlds.dynamic=0",
        "loop.mixed_precision='no'",
        "loop.batch_size=2",
        "loop.max_steps=2",
        "loop.max_minutes=null",
        "loop.validate_every=0",
        "loop.report_every=1",
        "optim.warmup_steps=2",
        *settings,
    ]


def generator_config(folder: Path, *settings: str) -> GeneratorTrainConfig:
    """The same as a configuration."""
    _, config, *rest = generator_arguments(folder, *settings)
    layers = [file_layer(config), command_line_layer(rest)]
    return load_train_config(GeneratorTrainConfig, layers)
