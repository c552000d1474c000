"""Findings about files of weights: their headers, and the tensors that do not fit a network."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from src.checkpoints.opening import Unread, Weights
from src.io.state_dict import check_tensors
from src.runtime import InputError

FLOATS = (torch.bfloat16, torch.float16, torch.float32)
MOST_LETTERS = 300
# Keys that DeepSpeed keeps beside the weights.
DEEPSPEED = {"ds_config", "ds_version", "dp_world_size"}


class Finding(NamedTuple):
    """A line about a part, a file or a command."""

    state: Literal["ok", "note", "missing", "wrong"]
    where: object
    text: str

    def __str__(self) -> str:
        # Messages of libraries may have several lines.
        text = re.sub(r"\s+", " ", self.text)
        return f"{self.state:7} {self.where}: {text}"


@dataclass(frozen=True)
class Network:
    """The tensors that the files of a part should hold.

    Attributes:
        name: in messages.
        wanted: tensors by our names, without memory.
        size: count of numbers of the published network; None if any size may be there.
    """

    name: str
    wanted: Mapping[str, Tensor]
    size: int | None = None


def refused(error: InputError) -> Finding:
    """The finding for an input error."""
    return Finding("wrong", error.source, f"{error.value}; expected {error.expected}")


def describe(weights: Weights) -> Finding:
    """A note of a file's format, tensors, types and size, and of the wrappers of its tensors."""
    types = {str(part.dtype).removeprefix("torch.") for part in weights.tensors.values()}
    kind = "DeepSpeed" if DEEPSPEED & set(weights.beside) else weights.kind
    size = weights.path.stat().st_size
    text = f"{kind}, {len(weights.tensors)} tensors, {', '.join(sorted(types))}, {size:,} bytes"
    if weights.wrappers:
        beside = f" beside {', '.join(weights.beside[:6])}" if weights.beside else ""
        text += f", under {'.'.join(weights.wrappers)}{beside}"
    return Finding("note", weights.path, text)


def empty(tensors: Mapping[str, Unread]) -> dict[str, Tensor]:
    """Returns tensors of the same shapes and types, without memory."""
    return {
        name: torch.empty(part.shape, dtype=part.dtype, device="meta")
        for name, part in tensors.items()
    }


def compare(where: Path, found: Mapping[str, Tensor], network: Network) -> Iterator[Finding]:
    """Yields the misfits of the tensors of a part, or one `ok`."""
    fits = True
    try:
        check_tensors(where, found, network.wanted, network.name)
    except InputError as error:
        fits = False
        hint, value = _other_size(found, network), str(error.value)
        if hint:
            # Most tensors differ: a few say as much as all.
            value = value[:MOST_LETTERS] + " ..."
        yield Finding("wrong", where, f"{hint}{value}; expected {error.expected}")
    odd = sorted({str(part.dtype) for part in found.values() if part.dtype not in FLOATS})
    count = sum(part.numel() for part in found.values())
    if fits and odd:
        expected = "bfloat16, float16 or float32"
        yield Finding("wrong", where, f"tensors of {', '.join(odd)}, not {expected}")
    elif fits and network.size not in (None, count):
        text = f"{count:,} numbers, another size than the published {network.size:,}"
        yield Finding("wrong", where, text)
    elif fits:
        text = f"all {len(found)} tensors of {network.name} fit, {count:,} numbers"
        yield Finding("ok", where, text)


def _other_size(found: Mapping[str, Tensor], network: Network) -> str:
    """Returns the beginning of the message if all names or most of the shapes differ."""
    known = [name for name in network.wanted if name in found]
    other = [name for name in known if found[name].shape != network.wanted[name].shape]
    if not known:
        return "another part or network: not one of its names fits; "
    if len(other) > len(known) / 2:
        counts = [sum(p.numel() for p in part.values()) for part in (found, network.wanted)]
        return f"a network of another size ({counts[0]:,} numbers instead of {counts[1]:,}); "
    return ""
