"""From a running training to a checkpoint, and back to the same place."""

from pathlib import Path

import torch
from torch import nn

from ...checkpoints.steps import defect, list_checkpoints, step_of
from ...runtime import InputError, get_logger
from ..checkpoints.files import LATEST, Checkpoint, choose_checkpoint, read_checkpoint
from ..checkpoints.folders import hand_over
from ..checkpoints.snapshot import (
    load_optimizer_state,
    optimizer_state,
    placed_like,
    random_state,
    set_random_state,
    whole,
)
from ..checkpoints.writing import writing
from ..ema import MovingAverage
from ..settings import LoopConfig
from ..task import Batch, Task
from .processes import from_main, gather_all, rank_and_size

LOGGER = get_logger(__name__)


def checkpoint_to_resume(task: Task[Batch], loop: LoopConfig) -> Checkpoint | None:
    """The checkpoint to go on from, the same one in all processes; None to begin.

    Raises:
        InputError: none that can be read, or later ones, which would be taken for this run's.
    """
    folder = Path(loop.output_dir)

    def choose() -> Path | None:
        """The folder to read, handed over from an earlier stage if need be."""
        if loop.resume is None:
            _refuse_later(folder, first=0)
            return None
        if loop.resume_dir is not None:
            with writing(folder):
                hand_over(Path(loop.resume_dir), folder)
        chosen = choose_checkpoint(folder, loop.resume, task.read_weights)
        if chosen is not None and loop.resume != LATEST:
            _refuse_later(folder, first=step_of(chosen) + 1)
        return chosen

    chosen = from_main(choose)
    if chosen is None:
        return None
    LOGGER.info("going on from %s", chosen)
    # The digests were compared when it was chosen.
    return read_checkpoint(chosen, task.read_weights, digests=False)


def _refuse_later(folder: Path, first: int) -> None:
    """Refuse sound checkpoints from step `first` on: the next job would go on from them."""
    later = [path for path in list_checkpoints(folder) if step_of(path) >= first]
    sound = [path.name for path in later if defect(path) is None]
    if sound:
        value = f"{sound[-1]} of an earlier run"
        expected = "another output_dir, resume_from_checkpoint=latest, or later checkpoints moved"
        raise InputError(folder, value, expected)


def capture(
    step: int,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage | None,
    position: int,
    minutes: float,
) -> Checkpoint:
    """All that is needed to go on; called by all processes."""
    averaged = None
    if average is not None:
        averaged = {name: whole(value) for name, value in average.values.items()}
    return Checkpoint(
        step,
        {name: whole(value) for name, value in network.state_dict().items()},
        optimizer_state(network, optimizer),
        averaged,
        gather_all(random_state(_device(network))),
        gather_all(position),
        minutes,
    )


def restore(
    checkpoint: Checkpoint,
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: MovingAverage | None,
) -> int | None:
    """Go on where the checkpoint was made; the weights are in the network already.

    Returns the position in the data; None where other processes, or the published program, made
    the checkpoint: then the generators are left alone, too.
    """
    load_optimizer_state(network, optimizer, checkpoint.optimizer)
    if average is not None:
        # Without an average of its own it starts from the weights that were read.
        for name, value in (checkpoint.average or {}).items():
            average.values[name] = placed_like(value, average.values[name])
    rank, world_size = rank_and_size()
    if len(checkpoint.random) != world_size:
        LOGGER.warning(
            "%d processes go on with what %d began: the data differ from a run without a break",
            world_size,
            len(checkpoint.random),
        )
        return None

    set_random_state(checkpoint.random[rank], _device(network))
    return checkpoint.positions[rank]


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device
