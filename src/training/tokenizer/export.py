"""The export of a trained tokenizer into the folder that all commands read."""

from dataclasses import replace
from pathlib import Path

import torch

from ...runtime import InputError, default_device
from ...tokenizer.loading import save_tokenizer
from ..checkpoints.files import LATEST, choose_checkpoint
from ..checkpoints.writing import check_apart, writing
from ..task import Share, Stopwatch
from .config import PoolConfig, TokenizerDataConfig, TokenizerTrainConfig
from .guided import GuidedStartConfig
from .task import TokenizerTask


def export_tokenizer(
    config: TokenizerTrainConfig,
    run: Path,
    target: Path,
    dtype: torch.dtype = torch.bfloat16,
) -> dict[str, int | bool]:
    """Write `config.json` and the weights of a run's newest checkpoint into `target`.

    The weights are the moving average if there is one; returns the `step` and whether they are. The
    statistics of the latents are measured on training clips, drawn as at the end of the run.

    Raises:
        InputError: no checkpoint, only damaged ones, or a target inside the run.
    """
    check_apart(run, target)
    data, canvases = config.data, config.data.canvases
    # Only the clips of the statistics are made, none are drawn.
    canvases = replace(canvases, clips=1, renewed=0)
    data = replace(data, held_out=0, pools=_last_look(data), canvases=canvases)
    # No loss is computed, so LPIPS is not needed.
    loss = replace(config.loss, lpips=0.0)
    task = TokenizerTask(replace(config, data=data, loss=loss, guided=GuidedStartConfig()))
    checkpoint = choose_checkpoint(run, LATEST, task.read_weights)
    if checkpoint is None:
        raise InputError(run, "no checkpoint", "the folder of a run")
    weights = checkpoint.average or checkpoint.weights
    device = default_device()
    task.build(device, Stopwatch())
    task.batches(Share(), lambda: 1.0)
    with writing(target):
        save_tokenizer(task.measured(weights).to(dtype), target)
    return {"step": checkpoint.step, "average": checkpoint.average is not None}


def _last_look(data: TokenizerDataConfig) -> list[PoolConfig]:
    """Returns pools of as many clips as the statistics need, weighted as at the end of the run."""
    if data.root is not None:
        return data.pools
    total = sum(pool.late for pool in data.pools)
    counts = [round(data.statistics_clips * pool.late / total) for pool in data.pools]
    pairs = zip(data.pools, counts, strict=True)
    return [
        replace(pool, worlds=min(max(count, 1), pool.worlds)) for pool, count in pairs if pool.late
    ]
