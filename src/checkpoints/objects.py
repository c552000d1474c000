"""Values of torch files beside plain weights: tensors in lists, tuples and dictionaries, numbers.

Nothing in a file is executed, and no claimed size is allocated: storages are bytes of the file, and
copies of tensors may not grow far beyond its size.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..io.damage import DAMAGES
from ..runtime import InputError
from .archive import TorchFile, open_torch_file
from .kinds import check_weights_file
from .unpickler import Instance, StoredTensor, Symbol

DEEPEST = 32
# Tensors that share numbers are copied one by one; weights share few.
MOST_COPIES = 4


def read_objects(path: Path, expected: str, checksums: bool = False) -> Any:
    """The value in a file of `torch.save`, its tensors on the CPU, in memory of their own.

    `checksums` compares the contents with their checksums, which files of torch before 1.6 lack:
    they are refused. Raises `InputError` for a damaged file, compressed members, tensors larger
    than their storages, objects that are neither tensors nor plain values.
    """
    check_weights_file(path, expected)
    file = open_torch_file(path)
    if checksums:
        _compare_checksums(path, expected)
    return _Copies(file, expected).of(file.value, 0)


def _compare_checksums(path: Path, expected: str) -> None:
    if not zipfile.is_zipfile(path):
        raise InputError(path, "a file of torch before 1.6, without checksums", expected)
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    raise InputError(path, f"{member.filename} compressed", expected)
            if damaged := archive.testzip():
                raise InputError(path, f"unreadable (Bad CRC-32 for file {damaged!r})", expected)
    except InputError:
        raise
    except DAMAGES as error:
        raise InputError(path, f"unreadable ({error})", expected) from error


class _Copies:
    """Copies of the values in a file, each made once, however often the file refers to it."""

    def __init__(self, file: TorchFile, expected: str) -> None:
        self._file, self._expected = file, expected
        self._room = MOST_COPIES * file.path.stat().st_size
        self._made: dict[int, Any] = {}

    def of(self, value: Any, level: int) -> Any:
        """A copy of the value with tensors in place of their descriptions."""
        if value is None or isinstance(value, bool | int | float | str | bytes):
            return value
        if level > DEEPEST:
            raise InputError(self._file.path, "a value nested too deeply", self._expected)
        if id(value) not in self._made:
            self._made[id(value)] = self._copy(value, level)
        return self._made[id(value)]

    def _copy(self, value: Any, level: int) -> Any:
        if isinstance(value, StoredTensor):
            self._room -= value.numel * value.dtype.itemsize
            if self._room < 0:
                found = f"tensors of over {MOST_COPIES} times the size of the file"
                raise InputError(self._file.path, found, self._expected)
            return self._file.tensor(value).clone()
        if isinstance(value, Mapping):
            return {self.of(key, level + 1): self.of(value[key], level + 1) for key in value}
        if type(value) in (list, tuple):
            return type(value)(self.of(part, level + 1) for part in value)
        kind = value.kind if isinstance(value, Instance) else value
        named = f"{kind.module}.{kind.name}" if isinstance(kind, Symbol) else type(kind).__name__
        found = f"an object of {named}"[:200]
        raise InputError(self._file.path, f"unreadable ({found})", self._expected)
