"""Exports the newest checkpoint of a run as a folder of weights, and these folders as a release.

A release holds half-precision weights, the configuration of each part, and a model card with their
origins and digests.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from cosmos_predict1.training.distillation.roles import CRITIC
from src.checkpoints import AVERAGE
from src.checkpoints.steps import OPTIMIZER, STATE, newest_sound, read_state
from src.io.atomic import atomic_path
from src.io.damage import read_safetensors
from src.io.json_object import read_json_object, write_json
from src.runtime import InputError
from src.training.checkpoints.files import RANDOM
from src.training.checkpoints.writing import check_apart, check_replaceable, replaced_folder

from .seeds import TEST, TRAIN

PARTS = ("tokenizer", "generator", "depth", "decoder_static", "decoder_dynamic")
# The file with the origin of a part, beside its weights.
ORIGIN = "origin.json"
CARD, TITLE = "README.md", "# Nano: the small weights"
MEGABYTE = 1e6
MOST_BYTES, MOST_FILE_BYTES = 40 * MEGABYTE, 16 * 2**20


@dataclass(frozen=True)
class Origin:
    """The training of a part."""

    run: str
    step: int
    minutes: float
    averaged: bool


def newest_checkpoint(run: Path) -> Path:
    """Returns the newest sound checkpoint of a run; `InputError` if there is none."""
    folder = newest_sound(run, digests=True)
    if folder is None:
        raise InputError(run, "no complete checkpoint-<step>", "the output folder of a training")
    return folder


def export_weights(run: Path, target: Path, average: bool = True) -> Origin:
    """Write the newest weights of a run, or their moving average if there is one.

    An earlier export at `target` is replaced as a whole. Raises `InputError` for no sound
    checkpoint, an average of other weights, a target inside or around the run, or one with files of
    another origin.
    """
    check_apart(run, target)
    folder = newest_checkpoint(run)
    state = read_state(folder)
    averaged = average and AVERAGE in state["files"]
    mean = read_safetensors(folder / AVERAGE) if averaged else {}
    # The critic of a distillation lies in a folder of its own, which is not exported.
    mean = {name: part for name, part in mean.items() if not name.startswith(f"{CRITIC}.")}
    origin = Origin(run.name, state["step"], float(state.get("minutes", 0.0)), averaged)
    # The others are for resuming the training.
    paths = _files(folder, STATE, OPTIMIZER, RANDOM, AVERAGE)
    names = [*(path.name for path in paths), ORIGIN]
    check_replaceable(target, names, target / ORIGIN)
    with replaced_folder(target, names) as exported:
        for path in paths:
            _copy(path, exported, lambda name, part: mean.pop(name, part))
        if mean:
            value = f"{len(mean)} tensors that the weights lack, such as {next(iter(mean))}"
            raise InputError(folder / AVERAGE, value, "an average of the weights")
        write_json(exported / ORIGIN, vars(origin))
    return origin


def release(
    source: Path, target: Path, dtype: torch.dtype = torch.float16, parts: Sequence[str] = PARTS
) -> Path:
    """Write the weights of all parts below `source` in half precision; returns the model card.

    Raises `InputError` for a missing part, weights beyond the range of the type, files too large
    for a repository, a target inside or around the source, or one with other files.
    """
    check_apart(source, target)
    card, names = target / CARD, {}
    for part in parts:
        if not (source / part / "config.json").is_file():
            raise InputError(source / part, "no weights", f"a folder for each of {list(parts)}")
        names[part] = [path.name for path in _files(source / part, ORIGIN)]
        check_replaceable(target / part, names[part], card)
    if card.is_file() and not card.read_text(errors="replace").startswith(TITLE):
        raise InputError(card, "another text", f"a model card, {TITLE!r}")
    with ExitStack() as stack:
        folders = {}
        for part in parts:
            folders[part] = stack.enter_context(replaced_folder(target / part, names[part]))
            for path in _files(source / part, ORIGIN):
                _copy(path, folders[part], partial(_halved, path, dtype))
        _check_sizes([path for folder in folders.values() for path in weight_files(folder)])
        evaluation = source / "evaluation" / "evaluation.json"
        text = model_card(source, folders, str(dtype).removeprefix("torch."))
        text += _figures(evaluation) if evaluation.is_file() else ""
        # Written before the parts are renamed: it marks them as ours if a kill follows.
        with atomic_path(card) as temporary:
            temporary.write_text(text, encoding="utf-8")
    return card


def weight_files(folder: Path) -> list[Path]:
    """Returns the weight files of a part, sorted."""
    return sorted(folder.glob("*.safetensors"))


def model_card(source: Path, folders: Mapping[str, Path], dtype: str) -> str:
    """Returns the model card: origin, sizes and digests of the weights that `folders` hold by part.

    `source` is the folder of the parts before the release.
    """
    lines = [
        TITLE,
        "",
        f"Trained from scratch on procedural worlds and canvases (`nano/worlds`, seeds {TRAIN})"
        " at 256x448 pixels and 17 frames; no picture, video or weight of anybody else was used."
        " They show the method, not the published quality. `python scripts/nano.py train` makes"
        f" them again; docs/nano.md tells of all their runs. All tensors are {dtype}.",
        "",
        "Licence: that of this repository (LICENSE).",
        "",
        "| part | parameters | run | updates | minutes of the last run | averaged |",
        "|---|---|---|---|---|---|",
    ]
    for part, folder in folders.items():
        states = map(read_safetensors, weight_files(folder))
        count = sum(tensor.numel() for state in states for tensor in state.values())
        file = source / part / ORIGIN
        origin: Mapping[str, Any] = read_json_object(file) if file.is_file() else {}
        known = [origin.get(name, "?") for name in ("run", "step", "minutes", "averaged")]
        known[2] = f"{known[2]:.1f}" if isinstance(known[2], float) else known[2]
        lines.append(f"| {part} | {count:,} | {' | '.join(map(str, known))} |")
    lines += ["", "| file | bytes | sha256 |", "|---|---|---|"]
    for part, folder in folders.items():
        for path in weight_files(folder):
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            lines.append(f"| {part}/{path.name} | {path.stat().st_size:,} | `{digest}` |")
    return "\n".join(lines) + "\n"


def _check_sizes(paths: Sequence[Path]) -> None:
    """Check that weights are small enough for a repository."""
    sizes = {path: path.stat().st_size for path in paths}
    for path, size in sizes.items():
        if size > MOST_FILE_BYTES:
            raise InputError(path, f"{size / 2**20:.1f} MiB", "at most 16 MiB")
    if sum(sizes.values()) > MOST_BYTES:
        value = f"{sum(sizes.values()) / MEGABYTE:.1f} MB"
        raise InputError("all weights of the release", value, "at most 40 MB")


def _files(folder: Path, *but: str) -> list[Path]:
    """Returns the files of a folder `but` those of some names, sorted."""
    return sorted(path for path in folder.iterdir() if path.is_file() and path.name not in but)


def _copy(path: Path, target: Path, change: Callable[[str, Tensor], Tensor]) -> None:
    """Copy a file of a part into a folder, its tensors (by name) changed."""
    if path.suffix != ".safetensors":
        shutil.copyfile(path, target / path.name)
        return
    state = {name: change(name, part) for name, part in read_safetensors(path).items()}
    with atomic_path(target / path.name) as temporary:
        save_file(state, temporary)


def _halved(path: Path, dtype: torch.dtype, name: str, tensor: Tensor) -> Tensor:
    """Returns a tensor of a file in another type, if it is of floating point."""
    if not tensor.is_floating_point():
        return tensor
    limit = torch.finfo(dtype).max
    if not tensor.abs().max() <= limit:
        raise InputError(path, f"{name} beyond {limit}", f"numbers that fit {dtype}")
    return tensor.to(dtype).contiguous()


def _figures(path: Path) -> str:
    """Returns the targets of the weights, and the figures of an evaluation on held-out worlds."""
    lines = [
        "",
        f"On test worlds (seeds from {TEST.static.start:,} on), PSNR in dB; docs/nano.md has more:",
        "",
        "| what | measured | asked | |",
        "|---|---|---|---|",
    ]
    for check in read_json_object(path).get("checks", []):
        value, least = (
            "–" if check[name] is None else f"{check[name]:.2f}" for name in ("value", "least")
        )
        verdict = {True: "reached", False: "missed", None: "not measured"}[check["reached"]]
        lines.append(f"| {check['what']} | {value} | {least} | {verdict} |")
    return "\n".join(lines) + "\n"
