"""From the newest checkpoint of a run to a folder of weights, and from folders to a release.

A release holds half-precision weights, the configuration of each part, and a model card with what
they were made from and their digests.
"""

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from ..checkpoints import AVERAGE
from ..checkpoints.steps import OPTIMIZER, STATE, newest_sound, read_state
from ..io.atomic import atomic_path
from ..io.json_object import read_json_object
from ..io.state_dict import read_safetensors
from ..runtime import InputError
from .checkpoints import RANDOM

PARTS = ("tokenizer", "generator", "depth", "decoder_static", "decoder_dynamic")
# Beside the weights of a part: where they come from.
ORIGIN = "origin.json"
MEGABYTE = 1e6
MOST_BYTES, MOST_FILE_BYTES = 40 * MEGABYTE, 16 * 2**20


@dataclass(frozen=True)
class Origin:
    """The training that a part comes from."""

    run: str
    step: int
    minutes: float
    averaged: bool


def newest_checkpoint(run: Path) -> Path:
    """The newest sound checkpoint of a run.

    Raises:
        InputError: there is none.
    """
    folder = newest_sound(run)
    if folder is None:
        raise InputError(run, "no complete checkpoint-<step>", "the output folder of a training")
    return folder


def export_weights(run: Path, target: Path, average: bool = True) -> Origin:
    """Write a run's newest weights as they are used, averaged where it kept an average.

    Args:
        run: the output folder of any training.
        target: the folder of weights, replaced as a whole.
        average: take the moving average if there is one.

    Raises:
        InputError: no sound checkpoint, an average of other weights.
    """
    folder = newest_checkpoint(run)
    state = read_state(folder)
    averaged = average and AVERAGE in state["files"]
    mean = read_safetensors(folder / AVERAGE) if averaged else {}
    origin = Origin(run.name, state["step"], float(state.get("minutes", 0.0)), averaged)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    for path in _weight_folder(folder):
        if path.suffix == ".safetensors":
            tensors = read_safetensors(path)
            chosen = {name: mean.pop(name, part) for name, part in tensors.items()}
            save_file(chosen, partial / path.name)
        else:
            shutil.copyfile(path, partial / path.name)
    if mean:
        value = f"{len(mean)} tensors that the weights lack, such as {next(iter(mean))}"
        raise InputError(folder / AVERAGE, value, "an average of the weights")
    (partial / ORIGIN).write_text(json.dumps(vars(origin), indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(target, ignore_errors=True)
    partial.rename(target)
    return origin


def release(
    source: Path, target: Path, dtype: torch.dtype = torch.float16, parts: Sequence[str] = PARTS
) -> Path:
    """Write the weights of all parts below `source` in half precision; returns the model card.

    Raises:
        InputError: a part that is missing, weights beyond the type's range, files larger than a
            repository takes.
    """
    for part in parts:
        if not (source / part / "config.json").is_file():
            raise InputError(source / part, "no weights", f"a folder for each of {list(parts)}")
        _halve(source / part, target / part, dtype)
    files = list(weight_files(target, parts))
    sizes = {path: path.stat().st_size for path in files}
    for path, size in sizes.items():
        if size > MOST_FILE_BYTES:
            raise InputError(path, f"{size / 2**20:.1f} MiB", "at most 16 MiB")
    if sum(sizes.values()) > MOST_BYTES:
        raise InputError(target, f"{sum(sizes.values()) / MEGABYTE:.1f} MB", "at most 40 MB")
    card = target / "README.md"
    evaluation = source / "evaluation" / "evaluation.json"
    text = model_card(source, target, parts, str(dtype).removeprefix("torch."))
    text += _figures(evaluation) if evaluation.is_file() else ""
    with atomic_path(card) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return card


def weight_files(folder: Path, parts: Sequence[str] = PARTS) -> Iterator[Path]:
    """The weights of each part, in order."""
    for part in parts:
        yield from sorted((folder / part).glob("*.safetensors"))


def model_card(source: Path, target: Path, parts: Sequence[str], dtype: str) -> str:
    """What the weights are, how they were made, and their digests, as Markdown."""
    lines = [
        "# Nano: the small weights",
        "",
        "Trained from scratch on procedural worlds (`src/worlds`, seeds below 200,000) at 176x320"
        " pixels and 17 frames; no picture, video or weight of anybody else was used. They show"
        " the method, not the published quality. `bash scripts/bash/train_nano.sh` makes them"
        f" again; docs/nano.md tells of all their runs. All tensors are {dtype}.",
        "",
        "Licence: that of this repository (LICENSE).",
        "",
        "| part | parameters | run | updates | minutes of the last run | averaged |",
        "|---|---|---|---|---|---|",
    ]
    for part in parts:
        count = sum(
            tensor.numel()
            for path in weight_files(target, [part])
            for tensor in read_safetensors(path).values()
        )
        origin: Mapping[str, Any] = {}
        if (source / part / ORIGIN).is_file():
            origin = read_json_object(source / part / ORIGIN)
        known = [origin.get(name, "?") for name in ("run", "step", "minutes", "averaged")]
        known[2] = f"{known[2]:.1f}" if isinstance(known[2], float) else known[2]
        lines.append(f"| {part} | {count:,} | {' | '.join(map(str, known))} |")
    lines += ["", "| file | bytes | sha256 |", "|---|---|---|"]
    for path in weight_files(target, parts):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        name, size = path.relative_to(target), path.stat().st_size
        lines.append(f"| {name} | {size:,} | `{digest}` |")
    return "\n".join(lines) + "\n"


def _weight_folder(checkpoint: Path) -> Iterator[Path]:
    """The files of a checkpoint that are its weights; the others are for going on training."""
    for path in sorted(path for path in checkpoint.iterdir() if path.is_file()):
        if path.name not in (STATE, OPTIMIZER, RANDOM, AVERAGE):
            yield path


def _halve(source: Path, target: Path, dtype: torch.dtype) -> None:
    """Copy a part, its floating-point tensors in another type."""
    limit = torch.finfo(dtype).max
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in sorted(path for path in source.iterdir() if path.is_file()):
        if path.name == ORIGIN:
            continue
        if path.suffix != ".safetensors":
            shutil.copyfile(path, target / path.name)
            continue
        state = read_safetensors(path)
        for name, tensor in state.items():
            if tensor.is_floating_point():
                if not tensor.abs().max() <= limit:
                    raise InputError(path, f"{name} beyond {limit}", f"numbers that fit {dtype}")
                state[name] = tensor.to(dtype).contiguous()
        save_file(state, target / path.name)


def _figures(path: Path) -> str:
    """What is asked of the weights, and what an evaluation on held-out worlds found."""
    lines = [
        "",
        "On held-out worlds (seeds from 900,000 on), PSNR in dB; docs/nano.md has all figures:",
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
