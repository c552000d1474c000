"""Tensors of a network by name: read from safetensors, compared with the network's own."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..runtime import InputError, listed


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file on the CPU, memory-mapped; `InputError` if it cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(path, f"unreadable ({error})", "a complete safetensors file") from error


def check_tensors(
    source: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], network: str
) -> None:
    """Raise `InputError` unless `found` has exactly the `wanted` floating-point tensors."""
    sizes = {name: list(tensor.shape) for name, tensor in found.items()}
    needed = {name: list(tensor.shape) for name, tensor in wanted.items()}
    problems = {
        "missing": [f"{name} {size}" for name, size in needed.items() if name not in sizes],
        "unexpected": [f"{name} {size}" for name, size in sizes.items() if name not in needed],
        "of another shape": [
            f"{name} {sizes[name]} instead of {size}"
            for name, size in needed.items()
            if sizes.get(name, size) != size
        ],
        "not floating-point": [
            f"{name} {tensor.dtype}"
            for name, tensor in found.items()
            if not tensor.is_floating_point()
        ],
    }
    texts = [f"{len(names)} {what}: {listed(names)}" for what, names in problems.items() if names]
    if texts:
        expected = f"exactly the {len(wanted)} tensors of {network}"
        raise InputError(source, "; ".join(texts), expected)
