"""Zip archives with one file per frame, `%05d.<suffix>`: the container of depth maps and masks."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import count
from pathlib import Path

from ...runtime import InputError
from ..archive import open_archive, read_member, write_archive

# Frame numbers of more digits are damage.
LONGEST_NUMBER = 9


def list_frames(path: Path, suffix: str) -> list[int]:
    """The frame numbers in an archive, ascending."""
    with open_archive(path, _expected(suffix)) as archive:
        stems = [name.removesuffix(suffix) for name in archive.namelist() if name.endswith(suffix)]
    sized = [stem for stem in stems if 5 <= len(stem) <= LONGEST_NUMBER]
    return sorted(int(stem) for stem in sized if stem.isascii() and stem.isdecimal())


def read_members(path: Path, suffix: str, indices: Sequence[int]) -> Iterator[bytes]:
    """Yield the content of each frame in `indices`; `InputError` for damage or a missing frame."""
    with open_archive(path, _expected(suffix)) as archive:
        for index in indices:
            name = f"{index:05d}{suffix}"
            try:
                yield read_member(path, archive, name, expected="a whole archive")
            except KeyError as error:
                expected = f"one file for each frame, up to {len(archive.namelist())} in all"
                raise InputError(path, f"no member {name} for frame {index}", expected) from error


def write_members(path: Path, suffix: str, contents: Iterable[bytes]) -> None:
    """Write one file per frame 0 ... n-1, atomically."""
    names = (f"{index:05d}{suffix}" for index in count())
    write_archive(path, zip(names, contents, strict=False))


def _expected(suffix: str) -> str:
    return f"a zip archive of %05d{suffix} files"
