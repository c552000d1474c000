"""The checkpoint folders of a run: `<output_dir>/checkpoint-<step>/`, whole or not there.

A folder gets its name when all of it is on the disk, its `state.json` last; what makes one sound
is said in `src/checkpoints/steps.py`.
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
from ...io.records.digest import file_digest
from ...runtime import InputError, get_logger

LOGGER = get_logger(__name__)
STAGE = "stage.json"
UNFINISHED = (".checkpoint-[0-9]*.partial", ".checkpoint-[0-9]*.removed*")


def is_own(folder: Path) -> bool:
    """Whether a sound checkpoint holds nothing but what a training wrote there."""
    if not (folder / STATE).is_file():
        return False
    known = {STATE, *read_state(folder)["files"]}
    paths = (path for path in folder.rglob("*") if not path.is_dir() or path.is_symlink())
    return all(str(path.relative_to(folder)) in known for path in paths)


def remove_old(output_dir: Path, keep_last: int, keep_every: int, newest: int) -> list[Path]:
    """Remove all but the `keep_last` checkpoints up to step `newest`; returns what was removed.

    Neither counted nor removed are later ones, which are not of this run, multiples of
    `keep_every` steps, defective ones, and those that hold files which no training wrote.
    """
    sound = [folder for folder in list_checkpoints(output_dir) if defect(folder) is None]
    folders = [folder for folder in sound if step_of(folder) <= newest and is_own(folder)]
    passing = [folder for folder in folders if not keep_every or step_of(folder) % keep_every]
    removed = passing[: max(len(passing) - keep_last, 0)]
    for folder in removed:
        # Renamed first: a half removed folder must not look like a checkpoint.
        condemned = _unused(folder.with_name(f".{folder.name}.removed"))
        folder.rename(condemned)
        shutil.rmtree(condemned)
    return removed


def hand_over(source: Path, output_dir: Path) -> Path | None:
    """Begin a stage with the newest sound checkpoint of the one before it.

    Its step, its optimizer and its position in the data come with it. A stage that has checkpoints
    of its own goes on with these: nothing is copied and None returned.

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
    """The step at which a stage began: where it was handed over, otherwise 0."""
    path = output_dir / STAGE
    if not path.is_file():
        return 0
    step = read_json_object(path).get("first_step", 0)
    if not is_count(step, MOST_STEPS):
        raise InputError(path, f"first_step = {step!r}"[:200], "the number of a step")
    return step


@contextmanager
def new_folder(output_dir: Path, step: int) -> Iterator[Path]:
    """A folder to fill, named `checkpoint-<step>` when the block ends without an exception."""
    output_dir.mkdir(parents=True, exist_ok=True)
    # One process of one training writes here, so what lies about is of one that was killed.
    for pattern in UNFINISHED:
        for leftover in output_dir.glob(pattern):
            shutil.rmtree(leftover)
    final, partial = output_dir / f"checkpoint-{step}", output_dir / f".checkpoint-{step}.partial"
    partial.mkdir()
    with ExitStack() as failed:
        # What is half written only takes room, most of all on a full disk.
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
    """Write the `state.json` of a folder that is complete but for it."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    files = {str(path.relative_to(folder)): path.stat().st_size for path in paths}
    state = {"step": step, "positions": positions, "minutes": minutes, "files": files}
    state[DIGESTS] = {name: file_digest(folder / name) for name in files}
    state[OWN_DIGEST] = own_digest(state)
    write_json(folder / STATE, state, indent=2)


def _put_aside(folder: Path) -> None:
    """Make room for a checkpoint of the same step.

    One that is defective, or holds files that no training wrote, is kept under another name.
    """
    kept = "damaged" if defect(folder) is not None else None if is_own(folder) else "kept"
    if kept is not None:
        folder.rename(_unused(folder.with_name(f"{kept}-{folder.name}")))
        return
    replaced = _unused(folder.with_name(f".{folder.name}.removed"))
    folder.rename(replaced)
    shutil.rmtree(replaced)


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
