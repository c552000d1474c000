"""Zip archives of others, read without trust.

A member is read whole, so that its checksum is compared, and only after the size that it claims was
compared with the bytes that there are: a small file must not fill the memory.
"""

import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runtime import InputError

# What the zip reader raises on damaged, encrypted and foreign archives.
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
)
# Others need a memory that a damaged header sets.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Arrays of numbers shrink by less than 100; below this size any ratio is harmless.
MOST_RATIO, HARMLESS_BYTES = 100, 1 << 26


@contextmanager
def open_archive(path: Path, expected: str) -> Iterator[zipfile.ZipFile]:
    """The archive at `path`; `InputError` if there is none or it cannot be read."""
    if not path.is_file():
        raise InputError(path, "no such file", expected)
    try:
        file = path.open("rb")
    except OSError as error:
        raise InputError(path, f"unreadable ({error})", expected) from error
    with file:
        try:
            archive = zipfile.ZipFile(file)
        except UNREADABLE as error:
            raise InputError(path, f"unreadable ({error})", expected) from error
        with archive:
            yield archive


def read_member(path: Path, archive: zipfile.ZipFile, name: str, expected: str) -> bytes:
    """The content of a member, its checksum compared.

    Raises:
        InputError: a damaged member, an unknown compression, a size that cannot be.
        KeyError: no member of this name.
    """
    member = archive.getinfo(name)
    if member.compress_type not in COMPRESSIONS:
        value = f"{name} with the compression {member.compress_type}"
        raise InputError(path, value, f"{expected}, stored or deflated")
    most = member.compress_size
    if member.compress_type != zipfile.ZIP_STORED:
        most = max(MOST_RATIO * member.compress_size, HARMLESS_BYTES)
    # The directory of the archive lies behind all members.
    if member.compress_size > archive.start_dir or member.file_size > most:
        value = f"{name} of {member.file_size} bytes out of {member.compress_size}"
        raise InputError(path, value, f"{expected} that holds what it claims")
    try:
        return archive.read(member)
    except (*UNREADABLE, MemoryError) as error:
        raise InputError(path, f"unreadable {name} ({error})", expected) from error
