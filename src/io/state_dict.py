"""Tensors of a network by name: read from safetensors, and compared with what it needs."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..runtime import InputError

# Names that an error lists before it only counts the others.
NAMES_SHOWN = 8


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file on the CPU, memory-mapped; `InputError` if it cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(path, f"unreadable ({error})", "a complete safetensors file") from error


def check_tensors(
    source: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], network: str
) -> None:
    """Raise `InputError` unless `found` has exactly the `wanted` tensors of `network`.

    It names those that are missing, unexpected, of another shape or not floating-point.
    """
    problems = {
        "missing": [f"{name} {list(wanted[name].shape)}" for name in wanted if name not in found],
        "unexpected": [f"{name} {list(found[name].shape)}" for name in found if name not in wanted],
        "of another shape": [
            f"{name} {list(found[name].shape)} instead of {list(wanted[name].shape)}"
            for name in wanted
            if name in found and found[name].shape != wanted[name].shape
        ],
        "not floating-point": [
            f"{name} {tensor.dtype}"
            for name, tensor in found.items()
            if not tensor.is_floating_point()
        ],
    }
    texts = [f"{len(names)} {what}: {listed(names)}" for what, names in problems.items() if names]
    if texts:
        raise InputError(
            source, "; ".join(texts), f"exactly the {len(wanted)} tensors of {network}"
        )


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
