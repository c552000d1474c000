"""Zip archives: untrusted ones read, equal content written as equal bytes.

A member's claimed size is compared with the bytes in the file before the member is read, so that a
small file cannot fill the memory; the whole member is read, so that its checksum is compared.
"""

import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runtime import InputError
from .atomic import atomic_path
from .damage import DAMAGES, check_file

# Other compressions need as much memory as a damaged header says.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Arrays of numbers shrink by less than 100; below this size any ratio is harmless.
MOST_RATIO, HARMLESS_BYTES = 100, 1 << 26


@contextmanager
def open_archive(path: Path, expected: str) -> Iterator[zipfile.ZipFile]:
    """The archive at `path`; `InputError` if it is missing or cannot be read."""
    check_file(path, expected)
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except DAMAGES as error:
            raise InputError(path, f"unreadable ({error})", expected) from error
        with archive:
            yield archive


def read_member(path: Path, archive: zipfile.ZipFile, name: str, expected: str) -> bytes:
    """The content of a member, its checksum compared; `KeyError` if there is none of this name."""
    member = archive.getinfo(name)
    if member.compress_type not in COMPRESSIONS:
        value = f"{name} with the compression {member.compress_type}"
        raise InputError(path, value, f"{expected}, stored or deflated")
    most = member.compress_size
    if member.compress_type != zipfile.ZIP_STORED:
        most = max(MOST_RATIO * member.compress_size, HARMLESS_BYTES)
    # The directory of the archive follows all members.
    if member.compress_size > archive.start_dir or member.file_size > most:
        value = f"{name} of {member.file_size} bytes out of {member.compress_size}"
        raise InputError(path, value, f"{expected} that holds what it claims")
    try:
        return archive.read(member)
    except DAMAGES as error:
        raise InputError(path, f"unreadable {name} ({error})", expected) from error


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write (name, content) pairs as an uncompressed archive, atomically."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in members:
            # Without the present time, so that equal members give equal files.
            archive.writestr(zipfile.ZipInfo(name), content)
