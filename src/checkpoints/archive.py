"""Torch files, zip archives and the pickle streams of torch before 1.6, opened with tensors unread.

Storages are byte ranges of the file, which is mapped into memory: nothing is read before a tensor
is used, and a range beyond the end of the file is refused when the file is opened.
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
from .unpickler import Storage, StoredTensor, read_pickle

EXPECTED = "a torch file of tensors"
ARCHIVE, TORCHSCRIPT, OLD = "torch archive", "TorchScript", "old torch"
# Files of torch before 1.6 begin with a magic number and a protocol.
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
NUMEL = struct.Struct("<Q")
LOCAL_HEADER = struct.Struct("<4s22xHH")
# More than any program or module tree of published weights; a deflated one may not grow further.
MOST_TEXT_BYTES = 2**24


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
