"""Tensors in the .pt files of others: a zip of torch, whose pickle is read without running it."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..runtime import InputError
from .archive import open_archive, read_member

# What torch's restricted unpickler raises on damaged and hostile files.
DAMAGES = (
    pickle.UnpicklingError,
    RuntimeError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    AssertionError,
    EOFError,
    OSError,
    OverflowError,
    RecursionError,
    MemoryError,
)


def load_tensors(path: Path, expected: str) -> Any:
    """What a file of `torch.save` holds, on the CPU.

    Raises:
        InputError: a missing or damaged file, one of the old format without checksums, objects that
            are no tensors, tensors that are larger than what is stored of them.
    """
    with open_archive(path, expected) as archive:
        for name in archive.namelist():
            # For its checksum and its size, which torch itself does not compare.
            read_member(path, archive, name, expected)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
        for tensor in _tensors(found, 0):
            _check_size(path, tensor, expected)
    except InputError:
        raise
    except DAMAGES as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise InputError(path, f"unreadable ({reason})", expected) from error
    return found


def _tensors(value: Any, depth: int) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple) and depth < 8:
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part, depth + 1)


def _check_size(path: Path, tensor: Tensor, expected: str) -> None:
    """Raise for a tensor that repeats its numbers, which fills the memory when it is computed."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise InputError(path, f"a tensor of the layout {tensor.layout}", expected)
    stored = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > stored:
        value = f"a tensor of shape {tuple(tensor.shape)} out of {stored} bytes"
        raise InputError(path, value, expected)
