"""Values of torch files beside plain weights: tensors in lists, tuples and dictionaries, numbers.

As for weights, nothing in a file is executed, and nothing is allocated on its word: storages are
bytes that the file has, as they are, and copies of tensors may not grow far beyond them.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..io.damage import DAMAGES
from ..runtime import InputError
from .archive import TorchFile, open_torch_file
from .kinds import why_unreadable
from .unpickler import Instance, StoredTensor, Symbol

DEEPEST = 32
# Tensors that share numbers are copied one by one; weights share few.
MOST_COPIES = 4
PIECE = 1 << 20


def read_objects(path: Path, expected: str, checksums: bool = False) -> Any:
    """What a file of `torch.save` holds, its tensors on the CPU, in memory of their own.

    Args:
        path: the file.
        expected: what an error says that was expected.
        checksums: compare the contents with their checksums, which files of torch before 1.6 lack;
            such files are refused.

    Raises:
        InputError: a missing or damaged file, compressed members, tensors that are larger than what
            is stored of them, objects that are neither tensors nor plain values.
    """
    problem = why_unreadable(path)
    if problem is not None:
        raise InputError(path, problem, expected)
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
                with archive.open(member) as content:
                    while content.read(PIECE):
                        pass
    except DAMAGES as error:
        if isinstance(error, InputError):
            raise
        raise InputError(path, f"unreadable ({error})", expected) from error


class _Copies:
    """Copies of the values in a file, each made once, however often it stands there."""

    def __init__(self, file: TorchFile, expected: str) -> None:
        self._file, self._expected = file, expected
        self._room = MOST_COPIES * file.path.stat().st_size
        self._made: dict[int, Any] = {}

    def of(self, value: Any, level: int) -> Any:
        """The value with tensors in the place of their descriptions."""
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
        raise InputError(self._file.path, f"unreadable ({_said(value)})", self._expected)


def _said(value: object) -> str:
    kind = value.kind if isinstance(value, Instance) else value
    if isinstance(kind, Symbol):
        return f"an object of {kind.module}.{kind.name}"[:200]
    return f"an object of {type(kind).__name__}"
