"""Torch files, the zip archives of today and the rows of pickles of old, opened without reading
their numbers.

Storages are byte ranges of the file, which is mapped into memory: nothing is read before a tensor
is used, and a range that the file does not have is refused when the file is opened.
"""

import mmap
import os
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch
from torch import Tensor

from ..runtime import InputError
from .unpickler import MALFORMED, Storage, StoredTensor, read_pickle

EXPECTED = "a torch file of tensors"
# The beginning of a file of torch before 1.6: magic number and protocol.
MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
NUMEL = struct.Struct("<Q")
LOCAL_HEADER = struct.Struct("<4s22xHH")
# More than any program or module tree of published weights; a deflated one may not grow further.
MOST_TEXT_BYTES = 2**24


@dataclass(frozen=True)
class TorchFile:
    """An open torch file: its pickled value with tensors unread, and where storages begin.

    `code` are the programs of a TorchScript archive by their path, unread too; None elsewhere.
    """

    path: Path
    value: Any
    starts: Mapping[str, int]
    code: Mapping[str, zipfile.ZipInfo] | None = None

    def tensor(self, stored: StoredTensor) -> Tensor:
        """A tensor of the file on the CPU, mapped; writing to it does not change the file."""
        size, dtype = stored.storage.dtype.itemsize, stored.dtype
        start = self.starts[stored.storage.key]
        content = self._content[start : start + stored.storage.numel * size]
        if content.data_ptr() % dtype.itemsize:
            # Old files don't align their numbers.
            content = content.clone()
        empty = torch.empty(0, dtype=dtype)
        return empty.set_(content, stored.offset, stored.shape, stored.stride)

    def program(self, name: str) -> str:
        """The text of one of `code`; it is read, never run."""
        assert self.code is not None, f"{self.path} is no TorchScript archive"
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
    """The file, its numbers unread.

    Raises:
        InputError: no torch file, a damaged one, storages that the file does not hold.
    """
    try:
        if zipfile.is_zipfile(path):
            return _open_archive(path)
        with path.open("rb") as file:
            return _open_old_file(path, file)
    except InputError:
        raise
    except RecursionError as error:
        raise InputError(path, "a value nested too deeply", EXPECTED) from error
    except (*MALFORMED, OSError) as error:
        raise InputError(path, f"unreadable ({_first_line(error)})", EXPECTED) from error


def _open_archive(path: Path) -> TorchFile:
    with zipfile.ZipFile(path) as archive, path.open("rb") as file:
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
    return TorchFile(path, value, starts, code or None)


def _start(path: Path, file: BinaryIO, member: zipfile.ZipInfo) -> int:
    """Where the bytes of a member begin, all of which the file holds as they are."""
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
        # A long number that a pickle may begin with; text would begin otherwise.
        # The magic number is a pickle of protocol 2; text begins otherwise.
        if content[:1] != b"\x80" or read_pickle(content)[0] != MAGIC:
            raise InputError(path, "another kind of file", EXPECTED)
        if read_pickle(content)[0] != PROTOCOL:
            raise InputError(path, "an unknown version", EXPECTED)
        # The machine that wrote it, the value, then the order of the storages that follow.
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
    return TorchFile(path, value, starts)


def _check_size(path: Path, storage: Storage, size: int) -> None:
    """Refuse a storage that is said to be larger than the file has it."""
    needed = storage.numel * storage.dtype.itemsize
    if needed > size:
        found = f"storage {storage.key} of {size} bytes"
        raise InputError(path, found, f"the {needed} bytes that it is said to have")


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
