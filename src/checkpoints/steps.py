"""The newest sound checkpoint of a training: one rule for everything that resumes from it.

A training writes `<output_dir>/checkpoint-<step>/`. The `state.json` in it, written last, lists the
files with their sizes and SHA-256 digests. Published folders hold
`pytorch_model/mp_rank_00_model_states.pt` instead.
"""

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..io.json_object import is_count, is_number, read_json_object
from ..io.records import file_digest
from ..runtime import InputError, get_logger

LOGGER = get_logger(__name__)
NUMBERED = re.compile(r"checkpoint-(\d+)")
STATE, OPTIMIZER, WEIGHTS = "state.json", "optimizer.pt", "model.safetensors"
# Keys of the state: the digests of the other files, and of the state without this key.
DIGESTS, OWN_DIGEST = "sha256", "state_sha256"
# Unsound checkpoints that an error describes; the log describes all.
MOST_NAMED = 3
# A larger number of a step or an example is damage.
MOST_STEPS = 10**12
PUBLISHED = Path("pytorch_model") / "mp_rank_00_model_states.pt"


def step_of(folder: Path) -> int:
    """The step in the name of a checkpoint folder."""
    match = NUMBERED.fullmatch(folder.name)
    assert match, f"{folder} is no checkpoint-<step>"
    return int(match[1])


def list_checkpoints(output_dir: Path) -> list[Path]:
    """The checkpoint folders of a run, earliest first, whatever their condition."""
    found = [path for path in output_dir.glob("checkpoint-*") if NUMBERED.fullmatch(path.name)]
    return sorted(found, key=step_of)


def newest_sound(
    output_dir: Path, read: Callable[[Path], object] | None = None, digests: bool = False
) -> Path | None:
    """The newest sound checkpoint of a run; None if there are no checkpoints at all.

    A warning names each unsound checkpoint; its files stay as they are. `read` reads a checkpoint
    for the caller, and raises `InputError` where it cannot; `digests` are those of `defect`. Raises
    `InputError` if no checkpoint is sound: the training would start anew.
    """
    problems = []
    for folder in reversed(list_checkpoints(output_dir)):
        problem = defect(folder, digests) or _unreadable(folder, read)
        if problem is None:
            return folder
        LOGGER.warning("%s cannot be used, trying the one before it: %s", folder, problem)
        problems.append(f"{folder.name}: {problem}")
    if problems:
        more = [f"and {len(problems) - MOST_NAMED} more"] * (len(problems) > MOST_NAMED)
        found = f"no complete checkpoint-<step>: {'; '.join(problems[:MOST_NAMED] + more)}"
        raise InputError(output_dir, found, "a checkpoint that can be read")
    return None


def defect(folder: Path, digests: bool = False) -> str | None:
    """The first defect of a checkpoint folder, by its list of files; None for a sound one.

    A folder without a list is sound if it is a published one, or holds the weights alone.
    `digests` reads all files, 1 to 3 seconds a GiB, and finds a single flipped bit; checkpoints
    written without digests pass.
    """
    if not folder.is_dir():
        return "no such folder"
    if not (folder / STATE).is_file():
        alone = (folder / WEIGHTS).is_file() and not (folder / OPTIMIZER).exists()
        return None if alone or (folder / PUBLISHED).is_file() else f"no {STATE}"
    try:
        state = read_state(folder)
    except InputError as error:
        return str(error)
    for name, size in state["files"].items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
    return _damage(folder, state) if digests else None


def _damage(folder: Path, state: dict[str, Any]) -> str | None:
    """The first file whose content has changed."""
    known = state.get(DIGESTS)
    if known is None:
        return None
    if state.get(OWN_DIGEST) != own_digest(state):
        return f"{STATE} is damaged: it has another digest"
    for name in state["files"]:
        if file_digest(folder / name) != known.get(name):
            return f"{name} is damaged: it has another digest"
    return None


def own_digest(state: dict[str, Any]) -> str:
    """The digest of a state without its own digest."""
    content = {name: value for name, value in state.items() if name != OWN_DIGEST}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_state(folder: Path) -> dict[str, Any]:
    """The `state.json` of a checkpoint: step, positions by process, minutes, sizes of files."""
    path = folder / STATE
    state = read_json_object(path)
    positions, files = state.get("positions"), state.get("files")
    sound = {
        "step": is_count(state.get("step"), MOST_STEPS),
        "positions": isinstance(positions, list)
        and all(is_count(position, MOST_STEPS) for position in positions),
        "files": isinstance(files, dict),
        "minutes": is_number(state.get("minutes", 0)),
    }
    wrong = [name for name, fits in sound.items() if not fits]
    if wrong:
        raise InputError(path, f"no valid {', '.join(wrong)}", "the state of a training")
    return state


def _unreadable(folder: Path, read: Callable[[Path], object] | None) -> str | None:
    """The error of `read` for a folder."""
    try:
        if read is not None:
            read(folder)
    except InputError as error:
        return str(error).replace(f"{folder}/", "")
    return None
