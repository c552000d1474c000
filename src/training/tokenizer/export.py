"""From a run of the tokenizer to the folder that everybody else reads."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...runtime import InputError, default_device
from ...tokenizer.loading import save_tokenizer
from ..checkpoints.files import LATEST, choose_checkpoint
from ..checkpoints.targets import check_apart
from ..checkpoints.writing import writing
from ..stopwatch import Stopwatch
from ..task import Share
from .config import PoolConfig, TokenizerDataConfig, TokenizerTrainConfig
from .guided import GuidedStartConfig
from .task import TokenizerTask


@dataclass(frozen=True)
class Exported:
    """Which weights were written."""

    step: int
    average: bool


def export_tokenizer(
    config: TokenizerTrainConfig,
    run: Path,
    target: Path,
    dtype: torch.dtype = torch.bfloat16,
) -> Exported:
    """Write the weights of a run's newest checkpoint, their moving average where there is one.

    The statistics of the latents are those of training clips, in the look of the end of the run.

    Args:
        config: of the run.
        run: its folder.
        target: where `config.json`, `encoder.safetensors` and `decoder.safetensors` are written.
        dtype: of the weights.

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
    checkpoint = choose_checkpoint(run, LATEST, task.read_weights)
    if checkpoint is None:
        raise InputError(run, "no checkpoint", "the folder of a run")
    weights = checkpoint.average or checkpoint.weights
    device = default_device()
    task.build(device, Stopwatch())
    task.batches(Share(), lambda: 1.0)
    with writing(target):
        save_tokenizer(task.measured(weights).to(dtype), target)
    return Exported(checkpoint.step, checkpoint.average is not None)


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
