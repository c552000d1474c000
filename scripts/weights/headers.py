"""Files of weights by their headers: format, tensors, types, and what does not fit a network."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from src.checkpoints.opening import Unread, Weights
from src.io.state_dict import check_tensors
from src.runtime import InputError

from .findings import Finding

FLOATS = (torch.bfloat16, torch.float16, torch.float32)
MOST_LETTERS = 300
# Kept beside the weights by DeepSpeed.
DEEPSPEED = {"ds_config", "ds_version", "dp_world_size"}


@dataclass(frozen=True)
class Network:
    """What the files of a part should hold.

    Attributes:
        name: in messages.
        wanted: its tensors by our names, without memory.
        published: the count of numbers of the published network; None where any size may lie.
    """

    name: str
    wanted: Mapping[str, Tensor]
    published: int | None = None


def describe(weights: Weights) -> str:
    """Format, count, types and size of a file; what its tensors were wrapped in."""
    types = {str(part.dtype).removeprefix("torch.") for part in weights.tensors.values()}
    kind = "DeepSpeed" if DEEPSPEED & set(weights.beside) else weights.kind
    size = weights.path.stat().st_size
    text = f"{kind}, {len(weights.tensors)} tensors, {', '.join(sorted(types))}, {size:,} bytes"
    if weights.wrappers:
        beside = f" beside {', '.join(weights.beside[:6])}" if weights.beside else ""
        text += f", under {'.'.join(weights.wrappers)}{beside}"
    return text


def empty(tensors: Mapping[str, Unread]) -> dict[str, Tensor]:
    """Tensors of the same shapes and types, without memory."""
    return {
        name: torch.empty(part.shape, dtype=part.dtype, device="meta")
        for name, part in tensors.items()
    }


def compare(where: Path, found: Mapping[str, Tensor], network: Network) -> Iterator[Finding]:
    """What does not fit; one `ok` where all of it does."""
    odd = {str(part.dtype) for part in found.values() if part.dtype not in FLOATS}
    fits = True
    try:
        check_tensors(where, found, network.wanted, network.name)
    except InputError as error:
        fits = False
        hint, value = _other_size(found, network), str(error.value)
        if hint:
            # Each of its tensors is another: a few say as much as all.
            value = value[:MOST_LETTERS] + " ..."
        yield Finding("wrong", str(where), f"{hint}{value}; expected {error.expected}")
    if fits and odd:
        fits = False
        expected = "bfloat16, float16 or float32"
        yield Finding("wrong", str(where), f"tensors of {', '.join(sorted(odd))}, not {expected}")
    count = sum(part.numel() for part in found.values())
    if fits and network.published not in (None, count):
        fits = False
        text = f"{count:,} numbers, another size than the published {network.published:,}"
        yield Finding("wrong", str(where), text)
    if fits:
        text = f"all {len(found)} tensors of {network.name} fit, {count:,} numbers"
        yield Finding("ok", str(where), text)


def _other_size(found: Mapping[str, Tensor], network: Network) -> str:
    """What to say first where most of the shapes differ, and where most of the names do."""
    known = [name for name in network.wanted if name in found]
    other = [name for name in known if found[name].shape != network.wanted[name].shape]
    if not known:
        return "another part or network: not one of its names fits; "
    if len(other) > len(known) / 2:
        counts = [sum(p.numel() for p in part.values()) for part in (found, network.wanted)]
        return f"a network of another size ({counts[0]:,} numbers instead of {counts[1]:,}); "
    return ""
