"""Checkpoints: everything that a training needs to resume to the bit, written and read.

A folder `<output_dir>/checkpoint-<step>/` has the network's weights as the task writes them,
`optimizer.pt`, `random.pt`, and `average.safetensors` if there is a moving average. It gets its
name when all of it is on the disk, its `state.json` last; `src/checkpoints/steps.py` defines a
sound folder. Of a published folder only the weights are read.
"""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from ...checkpoints import AVERAGE
from ...checkpoints.archive import read_objects
from ...checkpoints.steps import (
    DIGESTS,
    MOST_STEPS,
    OPTIMIZER,
    OWN_DIGEST,
    PUBLISHED,
    STATE,
    defect,
    list_checkpoints,
    newest_sound,
    own_digest,
    read_state,
    step_of,
)
from ...io.atomic import atomic_path, flush, write_text
from ...io.damage import read_safetensors
from ...io.json_object import is_count, read_json_object, write_json
from ...io.records import file_digest
from ...runtime import InputError, get_logger
from .snapshot import OptimizerState, outline
from .writing import WRITABLE, check_apart, writing

LOGGER = get_logger(__name__)
RANDOM, LATEST, STAGE = "random.pt", "latest", "stage.json"
WriteWeights = Callable[[Path, dict[str, Tensor]], None]
ReadWeights = Callable[[Path], dict[str, Tensor]]
UNFINISHED = (".checkpoint-[0-9]*.partial", ".checkpoint-[0-9]*.removed*")


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

    Raises `InputError` if the folder cannot be written, or the disk is full.
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

    Raises `InputError` if it is incomplete, damaged, or its weights are those of another network.
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

    A warning names those that cannot be read; they stay as they are. None if there are none. Raises
    `InputError` for no checkpoint of this name, or none that can be read.
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

    The file lies in a folder of the checkpoint's name in `target`. `average` takes the moving
    average instead of the weights; None: if there is one. Raises `InputError` for an incomplete
    checkpoint, one without the average that was asked for, or a result that would lie in the
    checkpoint itself.
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
    with atomic_path(path) as temporary:
        _write_objects({"module": module}, temporary)
    write_text(target / folder.name / "latest", PUBLISHED.parent.name)
    return path


def _write_objects(value: object, path: Path) -> None:
    """Write tensors and numbers in torch's format."""
    try:
        torch.save(value, path)
    except RuntimeError as error:
        # On a full disk torch reports only an unexpected position in the file.
        said = str(error).splitlines()[0]
        raise InputError(path, f"a file that cannot be written ({said})", WRITABLE) from error


def is_own(folder: Path) -> bool:
    """Whether a sound checkpoint holds only files that a training wrote."""
    if not (folder / STATE).is_file():
        return False
    known = {STATE, *read_state(folder)["files"]}
    paths = (path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    return all(str(path.relative_to(folder)) in known for path in paths)


def remove_old(output_dir: Path, keep_last: int, keep_every: int, newest: int) -> list[Path]:
    """Remove all but the `keep_last` checkpoints up to step `newest`; returns the removed ones.

    Later checkpoints, which are of another run, multiples of `keep_every` steps, defective ones,
    and folders with files that no training wrote are neither counted nor removed.
    """
    sound = [folder for folder in list_checkpoints(output_dir) if defect(folder) is None]
    folders = [folder for folder in sound if step_of(folder) <= newest and is_own(folder)]
    passing = [folder for folder in folders if not keep_every or step_of(folder) % keep_every]
    removed = passing[: max(len(passing) - keep_last, 0)]
    for folder in removed:
        _remove(folder)
    return removed


def check_stage_before(source: Path, output_dir: Path) -> None:
    """Raises `InputError` if a new stage is to continue a stage without checkpoints."""
    if not list_checkpoints(output_dir) and not list_checkpoints(source):
        raise InputError(source, "no complete checkpoint-<step>", "an earlier stage to continue")


def hand_over(source: Path, output_dir: Path) -> Path | None:
    """Copy the newest sound checkpoint of the stage `source`, from which a new stage begins.

    Returns the copy; None, without a copy, if the new stage has checkpoints of its own. Raises
    `InputError` if the stage before has no sound checkpoint.
    """
    check_stage_before(source, output_dir)
    if list_checkpoints(output_dir):
        return None
    chosen = newest_sound(source, digests=True)
    assert chosen is not None, "checked"
    start = step_of(chosen)
    write_json(output_dir / STAGE, {"source": str(source), "first_step": start}, indent=2)
    with new_folder(output_dir, start) as folder:
        shutil.copytree(chosen, folder, dirs_exist_ok=True)
    LOGGER.info("%s continues %s", output_dir, chosen)
    return output_dir / f"checkpoint-{start}"


def first_step(output_dir: Path) -> int:
    """Returns the step at which a stage began; 0 if it continues no other."""
    path = output_dir / STAGE
    if not path.is_file():
        return 0
    step = read_json_object(path).get("first_step", 0)
    if not is_count(step, MOST_STEPS):
        raise InputError(path, f"first_step = {step!r}"[:200], "the number of a step")
    return step


@contextmanager
def new_folder(output_dir: Path, step: int) -> Iterator[Path]:
    """Yields a folder, named `checkpoint-<step>` when the block ends without an exception."""
    output_dir.mkdir(parents=True, exist_ok=True)
    # One process of one training writes here: leftovers are of a killed one.
    for pattern in UNFINISHED:
        for leftover in output_dir.glob(pattern):
            shutil.rmtree(leftover)
    final, partial = output_dir / f"checkpoint-{step}", output_dir / f".checkpoint-{step}.partial"
    partial.mkdir()
    with ExitStack() as failed:
        # On a full disk the room is needed.
        failed.callback(shutil.rmtree, partial, ignore_errors=True)
        yield partial
        failed.pop_all()
    for path in [*partial.rglob("*"), partial]:
        flush(path)
    if final.exists():
        _put_aside(final)
    partial.rename(final)
    flush(output_dir)


def write_state(folder: Path, step: int, positions: list[int], minutes: float = 0.0) -> None:
    """Write the `state.json` of a folder in which all other files are complete."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder)): path.stat().st_size for path in paths}
    state = {"step": step, "positions": positions, "minutes": minutes, "files": files}
    state[DIGESTS] = {name: file_digest(folder / name) for name in files}
    state[OWN_DIGEST] = own_digest(state)
    write_json(folder / STATE, state, indent=2)


def _put_aside(folder: Path) -> None:
    """Remove a checkpoint that another of the same step replaces.

    A defective one, or one with files that no training wrote, is renamed instead.
    """
    kept = "damaged" if defect(folder) is not None else None if is_own(folder) else "kept"
    if kept is None:
        _remove(folder)
    else:
        folder.rename(_unused(folder.with_name(f"{kept}-{folder.name}")))


def _remove(folder: Path) -> None:
    # Renamed first: a half removed folder must not look like a checkpoint.
    condemned = _unused(folder.with_name(f".{folder.name}.removed"))
    folder.rename(condemned)
    shutil.rmtree(condemned)


def _unused(path: Path) -> Path:
    number, free = 1, path
    while free.exists():
        number, free = number + 1, path.with_name(f"{path.name}-{number + 1}")
    return free
