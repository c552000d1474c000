"""Checkpoints: everything that a training needs to resume to the bit, written and read.

A folder (see `folders.py`) has the network's weights as the task writes them, `optimizer.pt`,
`random.pt`, and `average.safetensors` if there is a moving average. Of a published folder only
the weights are read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...checkpoints import AVERAGE
from ...checkpoints.archive import read_objects
from ...checkpoints.steps import (
    OPTIMIZER,
    PUBLISHED,
    STATE,
    defect,
    newest_sound,
    read_state,
    step_of,
)
from ...io.atomic import atomic_path
from ...io.state_dict import read_safetensors
from ...runtime import InputError, get_logger
from .folders import new_folder, write_state
from .snapshot import OptimizerState, outline
from .writing import WRITABLE, check_apart, writing

LOGGER = get_logger(__name__)
RANDOM, LATEST = "random.pt", "latest"

WriteWeights = Callable[[Path, dict[str, Tensor]], None]
ReadWeights = Callable[[Path], dict[str, Tensor]]


@dataclass(kw_only=True)
class Checkpoint:
    """A training after `step` updates, counted over all stages.

    `random` and `positions` have one entry a process; `minutes` are the minutes of training of
    the run so far. A published checkpoint has only the weights.
    """

    step: int
    weights: dict[str, Tensor]
    optimizer: OptimizerState = field(default_factory=dict)
    average: dict[str, Tensor] | None = None
    random: list[dict[str, Any]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    minutes: float = 0.0

    def outline(self) -> "Checkpoint":
        """Returns the checkpoint without weights and with tensors that have no numbers."""
        average = outline(self.average) if self.average is not None else None
        optimizer = {name: outline(state) for name, state in self.optimizer.items()}
        return replace(self, weights={}, optimizer=optimizer, average=average)


def write_checkpoint(output_dir: Path, checkpoint: Checkpoint, write: WriteWeights) -> Path:
    """Write a checkpoint so that its folder is either whole or absent; returns the folder.

    Raises:
        InputError: the folder cannot be written, or the disk is full.
    """
    final = output_dir / f"checkpoint-{checkpoint.step}"
    with writing(final), new_folder(output_dir, checkpoint.step) as folder:
        write(folder, checkpoint.weights)
        if checkpoint.average is not None:
            with atomic_path(folder / AVERAGE) as temporary:
                save_file(checkpoint.average, temporary)
        _write_objects(checkpoint.optimizer, folder / OPTIMIZER)
        _write_objects(checkpoint.random, folder / RANDOM)
        write_state(
            folder,
            step=checkpoint.step,
            positions=checkpoint.positions,
            minutes=checkpoint.minutes,
        )
    return final


def read_checkpoint(folder: Path, read: ReadWeights) -> Checkpoint:
    """Returns a checkpoint, whose files have the digests with which they were written.

    Raises:
        InputError: it is incomplete, damaged, or its weights are those of another network.
    """
    problem = defect(folder, digests=True)
    if problem:
        raise InputError(folder, problem, "a complete checkpoint")
    if not (folder / STATE).is_file():
        LOGGER.warning("%s: only the weights are read, the optimizer starts anew", folder)
        published = folder / PUBLISHED
        weights = read(published if published.is_file() else folder)
        return Checkpoint(step=step_of(folder), weights=weights)
    state = read_state(folder)
    return Checkpoint(
        step=state["step"],
        weights=read(folder),
        optimizer=read_objects(folder / OPTIMIZER, "tensors and numbers"),
        average=read_safetensors(folder / AVERAGE) if AVERAGE in state["files"] else None,
        random=read_objects(folder / RANDOM, "tensors and numbers"),
        positions=state["positions"],
        minutes=float(state.get("minutes", 0)),
    )


def choose_checkpoint(output_dir: Path, name: str, read: ReadWeights) -> Checkpoint | None:
    """Returns the checkpoint `name` of a run, or with `latest` the newest that can be read.

    A warning names those that cannot be read; they stay as they are. None if there are none.

    Raises:
        InputError: no checkpoint of this name, or none that can be read.
    """
    if name != LATEST:
        return read_checkpoint(output_dir / name, read)
    found: list[Checkpoint] = []
    newest_sound(output_dir, lambda folder: found.append(read_checkpoint(folder, read)))
    return found[0] if found else None


def export_checkpoint(
    folder: Path, target: Path, read: ReadWeights, average: bool | None = None
) -> Path:
    """Write the weights in the published layout (bfloat16, under `module`); returns the file.

    Args:
        folder: One of our checkpoints.
        target: Where a folder of the same name is written.
        read: The task's reader of weights.
        average: The moving average instead of the weights; None: if there is one.

    Raises:
        InputError: an incomplete checkpoint, one without the average that was asked for, or a
            result that would lie in the checkpoint itself.
    """
    check_apart(folder, target / folder.name)
    checkpoint = read_checkpoint(folder, read)
    if average and checkpoint.average is None:
        raise InputError(folder, "no moving average", "a training with ema=true")
    weights, kind = checkpoint.weights, "weights"
    if average is not False and checkpoint.average is not None:
        weights, kind = checkpoint.average, "moving average of the weights"
    LOGGER.info("the %s of %s", kind, folder)
    module = {name: tensor.to(torch.bfloat16) for name, tensor in weights.items()}
    path = target / folder.name / PUBLISHED
    with writing(path):
        with atomic_path(path) as temporary:
            _write_objects({"module": module}, temporary)
        with atomic_path(target / folder.name / "latest") as temporary:
            temporary.write_text(PUBLISHED.parent.name)
    return path


def _write_objects(value: object, path: Path) -> None:
    """Write tensors and numbers in torch's format."""
    try:
        torch.save(value, path)
    except RuntimeError as error:
        # On a full disk torch reports only an unexpected position in the file.
        said = str(error).splitlines()[0]
        raise InputError(path, f"a file that cannot be written ({said})", WRITABLE) from error
