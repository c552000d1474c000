"""Zip archives with one file per frame, `%05d.<suffix>`: the container of depth maps and masks."""

import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from ..runtime import InputError
from .atomic import atomic_path

UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError)


def list_frames(path: Path, suffix: str) -> list[int]:
    """The frame numbers that an archive holds, ascending."""
    with _open(path, suffix) as archive:
        stems = [name.removesuffix(suffix) for name in archive.namelist() if name.endswith(suffix)]
    return sorted(int(stem) for stem in stems if len(stem) >= 5 and stem.isdecimal())


def read_members(path: Path, suffix: str, indices: Sequence[int]) -> Iterator[bytes]:
    """Yield the content of the file of each frame in `indices`.

    Raises:
        InputError: no such file, a truncated or damaged archive, a frame without a file in it.
    """
    with _open(path, suffix) as archive:
        for index in indices:
            name = f"{index:05d}{suffix}"
            try:
                yield archive.read(name)
            except KeyError as error:
                expected = f"one file for each frame, up to {len(archive.namelist())} in all"
                raise InputError(path, f"no member {name} for frame {index}", expected) from error
            except UNREADABLE as error:
                raise InputError(path, f"unreadable {name} ({error})", "a whole archive") from error


def write_members(path: Path, suffix: str, contents: Iterable[bytes]) -> None:
    """Write one file per frame 0 ... n-1, atomically and uncompressed (the files are already)."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for index, content in enumerate(contents):
            archive.writestr(f"{index:05d}{suffix}", content)


@contextmanager
def _open(path: Path, suffix: str) -> Iterator[zipfile.ZipFile]:
    expected = f"a zip archive of %05d{suffix} files"
    if not path.is_file():
        raise InputError(path, "no such file", expected)
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except UNREADABLE as error:
            raise InputError(path, f"unreadable ({error})", expected) from error
        with archive:
            yield archive
