"""The checkpoint folders of a run: `<output_dir>/checkpoint-<step>/`, whole or absent.

A folder gets its name when all of it is on the disk, its `state.json` last;
`src/checkpoints/steps.py` defines a sound folder.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ...checkpoints.steps import (
    DIGESTS,
    MOST_STEPS,
    OWN_DIGEST,
    STATE,
    defect,
    list_checkpoints,
    newest_sound,
    own_digest,
    read_state,
    step_of,
)
from ...io.json_object import is_count, read_json_object, write_json
from ...io.records import file_digest
from ...runtime import InputError, get_logger

LOGGER = get_logger(__name__)
STAGE = "stage.json"
UNFINISHED = (".checkpoint-[0-9]*.partial", ".checkpoint-[0-9]*.removed*")


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


def hand_over(source: Path, output_dir: Path) -> Path | None:
    """Copy the newest sound checkpoint of the stage `source`, from which a new stage begins.

    Returns the copy; None, without a copy, if the new stage has checkpoints of its own.

    Raises:
        InputError: the stage before has no sound checkpoint.
    """
    if list_checkpoints(output_dir):
        return None
    chosen = newest_sound(source, digests=True)
    if chosen is None:
        raise InputError(source, "no complete checkpoint-<step>", "an earlier stage to continue")
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
        _flush(path)
    if final.exists():
        _put_aside(final)
    partial.rename(final)
    _flush(output_dir)


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


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
