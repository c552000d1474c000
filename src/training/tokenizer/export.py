"""From a run of the tokenizer to the folder that everybody else reads, and its figures."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...io.atomic import atomic_path
from ...runtime import InputError, default_device
from ...tokenizer.loading import load_tokenizer, save_tokenizer
from ..checkpoints.files import choose_checkpoint, read_checkpoint
from ..checkpoints.targets import check_apart
from ..checkpoints.writing import writing
from ..stopwatch import Stopwatch
from ..task import Share, Validation
from .clips import seeded_clips
from .config import (
    HELD_OUT,
    HELD_OUT_DYNAMIC,
    PoolConfig,
    TokenizerDataConfig,
    TokenizerTrainConfig,
)
from .figures import Measurement
from .guided import GuidedStartConfig
from .task import TokenizerTask


@dataclass(frozen=True)
class Exported:
    """Which weights were written, and their figures by kind of held-out worlds."""

    step: int
    average: bool
    figures: dict[str, dict[str, float]]


def export_tokenizer(
    config: TokenizerTrainConfig,
    run: Path,
    target: Path,
    dtype: torch.dtype = torch.bfloat16,
    held_out: int = 64,
    report: Path | None = None,
) -> Exported:
    """Write the weights of a run's newest checkpoint, their moving average where there is one.

    The statistics of the latents are those of training clips, in the look of the end of the run.
    The figures are those of the weights as they were written, on `held_out` worlds of a kind.

    Args:
        config: of the run.
        run: its folder.
        target: where `config.json`, `encoder.safetensors` and `decoder.safetensors` are written.
        dtype: of the weights.
        held_out: worlds that figures are of, as many moving ones; 0 for no figures.
        report: where sheets of held-out clips are written.

    Raises:
        InputError: no checkpoint, a broken one, or a target that is not apart from the run.
    """
    check_apart(run, target)
    data, canvases = config.data, config.data.canvases
    # None are drawn: only those for the statistics are made.
    canvases = replace(canvases, clips=1, renewed=0)
    data = replace(data, held_out=0, pools=_last_look(data), canvases=canvases)
    # No loss is computed here: LPIPS, where the run had it, is not needed.
    loss = replace(config.loss, lpips=0.0)
    task = TokenizerTask(replace(config, data=data, loss=loss, guided=GuidedStartConfig()))
    newest = choose_checkpoint(run, "latest", task.read_weights)
    if newest is None:
        raise InputError(run, "no checkpoint", "the folder of a run")
    checkpoint = read_checkpoint(newest, task.read_weights)
    weights = checkpoint.average or checkpoint.weights
    device = default_device()
    task.build(device, Stopwatch())
    task.batches(Share(), lambda: 1.0)
    with writing(target):
        save_tokenizer(task.measured(weights).to(dtype), target)
    figures = world_figures(config.data, target, held_out, report, device) if held_out else {}
    return Exported(checkpoint.step, checkpoint.average is not None, figures)


def _last_look(data: TokenizerDataConfig) -> list[PoolConfig]:
    """Pools as small as the statistics allow, in the proportions of the end of the run."""
    if data.root is not None:
        return data.pools
    total = sum(pool.late for pool in data.pools)
    counts = [round(data.statistics_clips * pool.late / total) for pool in data.pools]
    pairs = zip(data.pools, counts, strict=True)
    return [
        replace(pool, worlds=min(max(count, 1), pool.worlds)) for pool, count in pairs if pool.late
    ]


def world_figures(
    data: TokenizerDataConfig,
    folder: Path,
    count: int,
    report: Path | None = None,
    device: torch.device | None = None,
) -> dict[str, dict[str, float]]:
    """Figures of still and of moving held-out worlds, and with `report` a sheet of each."""
    from PIL import Image

    figures, place = {}, device or default_device()
    kinds: Sequence[tuple[str, int, PoolConfig]] = (
        ("static", HELD_OUT, PoolConfig()),
        ("dynamic", HELD_OUT_DYNAMIC, PoolConfig(seed=100_000, dynamic=True)),
    )
    for name, first, kind in kinds:
        clips = seeded_clips(range(first, first + count), kind, data, place).color[:, 0]
        measured = measure(folder, clips)
        figures[name] = measured.figures
        if report is not None and measured.picture is not None:
            with atomic_path(report / f"{name}.png") as temporary:
                Image.fromarray(measured.picture.numpy()).save(temporary)
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
