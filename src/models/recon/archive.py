"""Reads tensors out of a torch archive that holds more than tensors, without running its pickle.

A pickle is a program that calls what it imports. Here nothing is imported: the names that tensors
and dictionaries need are answered with builders of this module, every other name with an inert
stand-in that accepts whatever is done to it.
"""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ...runtime import InputError

STORAGES = {
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
EXPECTED = "a torch zip archive"
MALFORMED = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
)


class Inert:
    """Stands for anything foreign: may be called, filled and restored, and does nothing."""

    def __new__(cls, *_: object) -> "Inert":
        """An inert object, whatever the arguments."""
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        pass

    def __call__(self, *_: object) -> "Inert":
        """An inert result."""
        return Inert()

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Drop the item."""

    def extend(self, items: object) -> None:
        """Drop the items."""


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies in the archive; read when it is asked for."""

    dtype: torch.dtype
    key: str
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


def read_archive(path: Path) -> object:
    """The pickled value of a torch archive: tensors, plain containers, and `Inert` for the rest.

    Raises:
        InputError: a file that is no torch archive, or whose pickle or storages are malformed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            program = _member(archive, "data.pkl")
            if b"big" in _member(archive, "byteorder", b"little"):
                raise InputError(path, "big-endian storages", EXPECTED)
            value = _Reader(io.BytesIO(program)).load()
            return _with_tensors(archive, value)
    except InputError:
        raise
    except (*MALFORMED, OSError) as error:
        raise InputError(path, f"unreadable ({error})", EXPECTED) from error


class _Reader(pickle.Unpickler):
    """An unpickler that imports nothing."""

    def find_class(self, module_name: str, global_name: str, /) -> Callable[..., object]:
        """A builder of this module for the names of tensors and dictionaries, else a stand-in."""
        if (module_name, global_name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module_name == "torch" and global_name in STORAGES:
            # A class of its own each time: the pickle may write to it.
            return type(global_name, (Inert,), {"dtype": STORAGES[global_name]})
        if (module_name, global_name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor_builder()
        if (module_name, global_name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_: data
        return type("Foreign", (Inert,), {})

    def persistent_load(self, pid: tuple, /) -> tuple[torch.dtype, str]:
        """Type and name of a storage."""
        _, kind, key, *_ = pid
        return kind.dtype, key


def _tensor_builder() -> Callable[..., StoredTensor]:
    """A function of its own each time, for the same reason."""

    def build(
        storage: tuple[torch.dtype, str],
        offset: int,
        size: tuple[int, ...],
        stride: tuple[int, ...],
        *_: object,
    ) -> StoredTensor:
        """What `torch._utils._rebuild_tensor_v2` is called with, not yet read."""
        dtype, key = storage
        return StoredTensor(dtype, key, offset, size, stride)

    return build


def _with_tensors(archive: zipfile.ZipFile, value: object) -> object:
    """The value with its stored tensors read, in dictionaries of any depth."""
    if isinstance(value, Mapping):
        return {key: _with_tensors(archive, part) for key, part in value.items()}
    return _read_tensor(archive, value) if isinstance(value, StoredTensor) else value


def _read_tensor(archive: zipfile.ZipFile, stored: StoredTensor) -> Tensor:
    content = bytearray(_member(archive, f"data/{stored.key}"))
    if not content:
        return torch.empty(stored.size, dtype=stored.dtype)
    # Torch refuses sizes and strides that reach beyond the storage.
    storage = torch.frombuffer(content, dtype=stored.dtype)
    return storage.as_strided(stored.size, stored.stride, stored.offset).clone()


def _member(archive: zipfile.ZipFile, name: str, default: bytes | None = None) -> bytes:
    """The content of the member `name` in the archive's one top folder."""
    folder = archive.namelist()[0].split("/")[0]
    if default is not None and f"{folder}/{name}" not in archive.namelist():
        return default
    return archive.read(f"{folder}/{name}")
