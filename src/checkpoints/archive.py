"""Torch files, zip archives and the pickle streams of torch before 1.6, opened with tensors unread.

Storages are byte ranges of the file, which is mapped into memory: nothing is read before a tensor
is used, and a range beyond the end of the file is refused when the file is opened. `read_objects`
copies values beside plain weights, too: tensors in lists, tuples and dictionaries, and numbers.
"""

import mmap
import os
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from ..io.damage import DAMAGES
from ..runtime import InputError
from .kinds import check_weights_file
from .unpickler import Instance, Storage, StoredTensor, Symbol, read_pickle

EXPECTED = "a torch file of tensors"
ARCHIVE, TORCHSCRIPT, OLD = "torch archive", "TorchScript", "old torch"
# Files of torch before 1.6 begin with a magic number and a protocol.
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
NUMEL = struct.Struct("<Q")
LOCAL_HEADER = struct.Struct("<4s22xHH")
# More than any program or module tree of published weights; a deflated one may not grow further.
MOST_TEXT_BYTES = 2**24
DEEPEST = 32
# Tensors that share numbers are copied one by one; weights share few.
MOST_COPIES = 4


@dataclass(frozen=True)
class TorchFile:
    """An open torch file: unread tensors in its value, starts of storages, TorchScript programs."""

    path: Path
    kind: str
    value: Any
    starts: Mapping[str, int]
    code: Mapping[str, zipfile.ZipInfo] = field(default_factory=dict)

    def tensor(self, stored: StoredTensor) -> Tensor:
        """A tensor of the file on the CPU, mapped; writing to it does not change the file."""
        size, dtype = stored.storage.dtype.itemsize, stored.dtype
        start = self.starts[stored.storage.key]
        content = self._content[start : start + stored.storage.numel * size]
        # Old files don't align their numbers.
        if content.data_ptr() % dtype.itemsize:
            content = content.clone()
        empty = torch.empty(0, dtype=dtype)
        return empty.set_(content, stored.offset, stored.shape, stored.stride)

    def program(self, name: str) -> str:
        """The text of one of `code`; it is read, never run."""
        with zipfile.ZipFile(self.path) as archive, archive.open(self.code[name]) as member:
            text = member.read(MOST_TEXT_BYTES + 1)
        if len(text) > MOST_TEXT_BYTES:
            raise InputError(self.path, f"{name} of over {MOST_TEXT_BYTES} bytes", EXPECTED)
        return text.decode()

    @cached_property
    def _content(self) -> torch.UntypedStorage:
        size = self.path.stat().st_size
        return cast(Any, torch.UntypedStorage.from_file(os.fspath(self.path), False, size))


def open_torch_file(path: Path) -> TorchFile:
    """The file, its numbers unread; `InputError` for another or a damaged file."""
    try:
        with path.open("rb") as file:
            archived = zipfile.is_zipfile(path)
            return _open_archive(path, file) if archived else _open_old_file(path, file)
    except InputError:
        raise
    except RecursionError as error:
        raise InputError(path, "a value nested too deeply", EXPECTED) from error
    except (*DAMAGES, AssertionError) as error:
        reason = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InputError(path, f"unreadable ({reason})", EXPECTED) from error


def _open_archive(path: Path, file: BinaryIO) -> TorchFile:
    with zipfile.ZipFile(path) as archive:
        top = archive.namelist()[0].split("/")[0] + "/"
        members = {
            member.filename.removeprefix(top): member
            for member in archive.infolist()
            if member.filename.startswith(top)
        }
    if "byteorder" in members and b"big" in _content(path, file, members["byteorder"]):
        raise InputError(path, "big-endian numbers", EXPECTED)
    if "data.pkl" not in members:
        raise InputError(path, "a zip archive without data.pkl", EXPECTED)
    value, storages = read_pickle(BytesIO(_content(path, file, members["data.pkl"])))
    starts = {}
    for storage in storages:
        name = f"data/{storage.key}"
        if name not in members:
            raise InputError(path, f"no member {name}", EXPECTED)
        starts[storage.key] = _start(path, file, members[name])
        _check_size(path, storage, members[name].file_size)
    code = {name: member for name, member in members.items() if name.startswith("code/")}
    return TorchFile(path, TORCHSCRIPT if code else ARCHIVE, value, starts=starts, code=code)


def _start(path: Path, file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """The position of a member's bytes, which must be stored, and within the file."""
    if member.compress_type != zipfile.ZIP_STORED or member.flag_bits & 1:
        raise InputError(path, f"{member.filename} compressed or encrypted", EXPECTED)
    file.seek(member.header_offset)
    signature, name, extra = LOCAL_HEADER.unpack(file.read(LOCAL_HEADER.size))
    start = member.header_offset + LOCAL_HEADER.size + name + extra
    if signature != b"PK\x03\x04" or start + member.file_size > path.stat().st_size:
        raise InputError(path, f"{member.filename} outside the file", "a complete file")
    return start


def _content(path: Path, file: BinaryIO, member: zipfile.ZipInfo) -> bytes:
    file.seek(_start(path, file, member))
    return file.read(member.file_size)


def _open_old_file(path: Path, file: BinaryIO) -> TorchFile:
    if not path.stat().st_size:
        raise InputError(path, "an empty file", EXPECTED)
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        # The magic number is a pickle of protocol 2; other files begin otherwise.
        if content[:1] != b"\x80" or read_pickle(content)[0] != MAGIC:
            raise InputError(path, "unreadable: another kind of file", EXPECTED)
        if read_pickle(content)[0] != PROTOCOL:
            raise InputError(path, "an unknown version", EXPECTED)
        # A description of the machine, the value, then the order of the storages that follow.
        read_pickle(content)
        (value, storages), (keys, _) = read_pickle(content), read_pickle(content)
        named = {storage.key: storage for storage in storages}
        starts, position = {}, content.tell()
        for key in keys:
            storage = named[str(key)]
            start = position + NUMEL.size
            (numel,) = NUMEL.unpack(content[position:start])
            position = start + numel * storage.dtype.itemsize
            _check_size(path, storage, min(position, len(content)) - start)
            starts[storage.key] = start
    for storage in storages:
        if storage.key not in starts:
            raise InputError(path, f"no storage {storage.key}", EXPECTED)
    return TorchFile(path, OLD, value, starts=starts)


def _check_size(path: Path, storage: Storage, size: int) -> None:
    """Refuse a storage that claims more bytes than the file has for it."""
    needed = storage.numel * storage.dtype.itemsize
    if needed > size:
        found = f"storage {storage.key} of {size} bytes"
        raise InputError(path, found, f"the {needed} bytes that it is said to have")


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
