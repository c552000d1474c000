"""Figures of a tokenizer on held-out worlds."""

from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from src.io.image.image import write_png
from src.runtime import default_device
from src.tokenizer.loading import load_tokenizer
from src.training.task import Validation
from src.training.tokenizer.config import PoolConfig, TokenizerDataConfig
from src.training.tokenizer.figures import Measurement

from ...data.pools import seeded_clips
from ...seeds import VALIDATE


def world_figures(
    data: TokenizerDataConfig,
    folder: Path,
    count: int,
    report: Path | None = None,
    device: torch.device | None = None,
) -> dict[str, dict[str, float]]:
    """Figures of still and of moving held-out worlds, and with `report` a sheet of each."""
    figures, place = {}, device or default_device()
    kinds: Sequence[tuple[str, PoolConfig]] = (
        ("static", PoolConfig()),
        ("dynamic", PoolConfig(dynamic=True)),
    )
    for name, kind in kinds:
        seeds = VALIDATE.seeds(count, kind.dynamic)
        clips = seeded_clips(seeds, kind, data, place).color[:, 0]
        measured = measure(folder, clips)
        figures[name] = measured.figures
        if report is not None and measured.picture is not None:
            write_png(report / f"{name}.png", measured.picture)
    return figures


def measure(folder: Path, clips: UInt8[Tensor, "clip 3 frame h w"]) -> Validation:
    """The figures of a tokenizer folder on clips, with a sheet of the first ones.

    Arithmetic is float32 and goes the way that everybody else encodes and decodes.
    """
    tokenizer, measurement = load_tokenizer(folder, clips.device), Measurement()
    for clip in clips.split(1):
        video = clip.float() / 127.5 - 1
        measurement.add(tokenizer.decode(tokenizer.encode(video)), video)
    return measurement.result()
