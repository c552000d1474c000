"""Checkpoints: everything that a training needs to go on to the bit, written and read.

A folder (see `folders.py`) has the network's weights as the task writes them, `optimizer.pt`,
`random.pt`, and `average.safetensors` where there is a moving average. Of a published folder only
the weights are read.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from ...checkpoints import AVERAGE
from ...checkpoints.objects import read_objects
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
from ...runtime import InputError, get_logger
from .folders import new_folder, write_state
from .snapshot import OptimizerState
from .targets import check_apart
from .writing import WRITABLE, writing

LOGGER = get_logger(__name__)
RANDOM, LATEST = "random.pt", "latest"

WriteWeights = Callable[[Path, dict[str, Tensor]], None]
ReadWeights = Callable[[Path], dict[str, Tensor]]


@dataclass
class Checkpoint:
    """A training after `step` updates, counted over all stages.

    `random` and `positions` are by process, `minutes` those of training that the run took.
    Everything but the weights is missing where only they are known.
    """

    step: int
    weights: dict[str, Tensor]
    optimizer: OptimizerState = field(default_factory=dict)
    average: dict[str, Tensor] | None = None
    random: list[dict[str, Any]] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    minutes: float = 0.0


def write_checkpoint(output_dir: Path, checkpoint: Checkpoint, write: WriteWeights) -> Path:
    """Write a checkpoint so that its folder is either whole or not there; returns the folder.

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
        write_state(folder, checkpoint.step, checkpoint.positions, checkpoint.minutes)
    return final


def read_checkpoint(folder: Path, read: ReadWeights, digests: bool = True) -> Checkpoint:
    """One checkpoint; of a published one the weights only.

    Args:
        folder: where it lies.
        read: the task's reader of weights.
        digests: compare all files with their digests first.

    Raises:
        InputError: it is incomplete, damaged, or its weights are those of another network.
    """
    problem = defect(folder, digests)
    if problem:
        raise InputError(folder, problem, "a complete checkpoint")
    if not (folder / STATE).is_file():
        LOGGER.warning("%s: only the weights are read, the optimizer starts anew", folder)
        published = folder / PUBLISHED
        return Checkpoint(step_of(folder), read(published if published.is_file() else folder))
    state = read_state(folder)
    average = _read_tensors(folder / AVERAGE) if AVERAGE in state["files"] else None
    optimizer, generators = (
        read_objects(folder / name, "tensors and numbers") for name in (OPTIMIZER, RANDOM)
    )
    weights = read(folder)
    known = (average, generators, state["positions"], float(state.get("minutes", 0)))
    return Checkpoint(state["step"], weights, optimizer, *known)


def choose_checkpoint(output_dir: Path, name: str, read: ReadWeights) -> Path | None:
    """The checkpoint `name` of a run, or with `latest` the newest that can be read.

    Those that cannot are named in a warning and stay as they are. None if there are none at all.

    Raises:
        InputError: no checkpoint of this name, or none of all that can be read: going on would
            mean to start anew.
    """
    if name != LATEST:
        read_checkpoint(output_dir / name, read)
        return output_dir / name
    # The reader compares the digests.
    return newest_sound(output_dir, lambda folder: read_checkpoint(folder, read))


def export_checkpoint(
    folder: Path, target: Path, read: ReadWeights, average: bool | None = None
) -> Path:
    """Write the weights in the published layout (bfloat16, under `module`); returns the file.

    Args:
        folder: one of our checkpoints.
        target: where a folder of the same name is written.
        read: the task's reader of weights.
        average: the moving average instead of the weights; None for where there is one.

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
        # torch says of a full disk that a position is not the one that it expected.
        said = str(error).splitlines()[0]
        raise InputError(path, f"a file that cannot be written ({said})", WRITABLE) from error


def _read_tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(path, f"unreadable ({error})", "a safetensors file") from error
