"""Clips in tar parts, without unpacking them: a folder tree that is only there for reading.

A `PackedPath` stands where a `Path` of an unpacked folder would and is used alike: `/`, `is_dir`,
`is_file`, `iterdir`, `open`. Nothing is ever extracted, so a name can lead nowhere else.
"""

import io
import os
import posixpath
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64, Shaped

from ...runtime import InputError
from .tar_index import read_index

PART_SUFFIX = ".tar"


@dataclass(frozen=True)
class TarParts:
    """The members of all parts by name; which part has which does not matter.

    Sorted arrays rather than dictionaries: worker processes share them, and millions of files fit.
    """

    root: Path
    parts: tuple[Path, ...]
    names: Shaped[np.ndarray, " member"]
    places: Int64[np.ndarray, "member 3"]  # part, offset, size

    def find(self, name: str) -> tuple[Path, int, int] | None:
        """The part, the offset and the size of a file; None if there is no such file."""
        at = self._place(name.encode())
        if at == len(self.names) or bytes(self.names[at]) != name.encode():
            return None
        part, offset, size = self.places[at].tolist()
        return self.parts[part], offset, size

    def has_folder(self, folder: str) -> bool:
        """Whether there is a file below a folder, which is `""` or ends with a slash."""
        at = self._place(folder.encode())
        return at < len(self.names) and bytes(self.names[at]).startswith(folder.encode())

    def children(self, folder: str) -> list[str]:
        """The names in a folder, which is `""` or ends with a slash."""
        prefix, found = folder.encode(), []
        at = self._place(prefix)
        while at < len(self.names):
            name = bytes(self.names[at])
            if not name.startswith(prefix):
                break
            child, slash, _ = name[len(prefix) :].partition(b"/")
            found.append(child.decode())
            # What lies below a folder comes before the character after the slash.
            at = self._place(prefix + child + b"0") if slash else at + 1
        return found

    def _place(self, name: bytes) -> int:
        return bisect_left(self.names, name)


class _Range(io.RawIOBase):
    """Some bytes of a file as a file; opened by whoever reads, so that no two share a position."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        super().__init__()
        self._file, self._offset, self._size, self._at = path.open("rb", 0), offset, size, 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a position, counted from the start, from here or from the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"position {base + offset} before the start")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as there is content; the number of bytes."""
        count = max(min(len(buffer), self._size - self._at), 0)
        if not count:
            return 0
        self._file.seek(self._offset + self._at)
        got = self._file.readinto(memoryview(buffer)[:count]) or 0
        self._at += got
        return got

    def close(self) -> None:
        """Close the part as well."""
        self._file.close()
        super().close()


class PackedPath(type(Path())):
    """A file or folder in tar parts; its text names the part, where there is such a file."""

    # Class attributes, because `Path` makes its objects without `__init__`.
    _archive: TarParts
    _inner: str

    @classmethod
    def at(cls, archive: TarParts, inner: str = "") -> "PackedPath":
        """The file or folder of this name; the root by default."""
        found = archive.find(inner)
        path = cls(archive.root if found is None else found[0], inner)
        path._archive, path._inner = archive, inner
        return path

    def __truediv__(self, key: str | os.PathLike[str]) -> "PackedPath":
        inner = posixpath.join(self._inner, os.fspath(key)).strip("/")
        return type(self).at(self._archive, inner)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).at, (self._archive, self._inner)

    def with_segments(self, *segments: str | os.PathLike[str]) -> Path:
        """What is derived otherwise than by `/`, such as a parent, is a name alone."""
        return Path(*segments)

    def is_file(self) -> bool:
        """Whether some part has this file."""
        return self._archive.find(self._inner) is not None

    def is_dir(self) -> bool:
        """Whether some part has a file below it."""
        return not self.is_file() and self._archive.has_folder(self._folder)

    def exists(self) -> bool:
        """Whether it is a file or a folder."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator["PackedPath"]:
        """Yield what is in the folder, in the order of the names."""
        for child in self._archive.children(self._folder):
            yield self / child

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> Any:
        """The file, for reading, in mode `r` (as text) or `rb`.

        Raises:
            FileNotFoundError: there is none.
            InputError: its part has become too short since it was indexed.
        """
        assert mode in ("r", "rb"), f"mode {mode!r} for a file in a tar part"
        place = self._archive.find(self._inner)
        if place is None:
            raise FileNotFoundError(str(self))
        part, offset, size = place
        length = part.stat().st_size
        if length < offset + size:
            expected = f"at least {offset + size}, for {self._inner}"
            raise InputError(part, f"{length} bytes (truncated)", expected)
        content = io.BufferedReader(_Range(part, offset, size))
        return content if mode == "rb" else io.TextIOWrapper(content, encoding, errors, newline)

    @property
    def _folder(self) -> str:
        return f"{self._inner}/" if self._inner else ""


def as_path(path: Path | str) -> Path:
    """A path of a text; a path as it is, also one in tar parts, which `Path` would forget."""
    return path if isinstance(path, Path) else Path(path)


def open_root(root: Path | str) -> Path:
    """The folder of clips that `root` is, or as if it were unpacked: tar parts.

    Args:
        root: a folder of clips, a folder of tar parts, one part, or a pattern of parts such as
            `data/part-*.tar`.

    Raises:
        InputError: no part fits the pattern, compressed, damaged or truncated parts, a file that
            is there twice, a folder with parts and unpacked clips.
    """
    path = as_path(root)
    if isinstance(path, PackedPath):
        return path
    if path.is_dir():
        parts = sorted(part for part in path.iterdir() if part.suffix == PART_SUFFIX)
        if not parts:
            return path
        if any((folder / "rgb").is_dir() for folder in path.iterdir()):
            value = f"{len(parts)} tar parts and unpacked clips"
            raise InputError(path, value, "one of the two: `FOLDER/*.tar` names the parts")
    elif path.is_file():
        parts = [path]
    elif any(sign in str(path) for sign in "*?["):
        parts = sorted(Path(path.anchor).glob(str(path.relative_to(path.anchor))))
        if not parts:
            raise InputError(path, "no file", "a pattern of tar parts")
    else:
        return path
    wrong = [part for part in parts if part.suffix != PART_SUFFIX]
    if wrong:
        raise InputError(wrong[0], f"a {wrong[0].suffix} file", "uncompressed parts, *.tar")
    return PackedPath.at(_join(path, parts))


def _join(root: Path, parts: Sequence[Path]) -> TarParts:
    """The members of all parts; what all names begin with is no part of them."""
    indexes = [read_index(part) for part in parts]
    names = np.concatenate([index.names for index in indexes])
    if not len(names):
        raise InputError(root, f"{len(parts)} tar parts without a file", "parts with clips")
    columns = [
        np.stack([np.full(len(index.names), number), index.offsets, index.sizes], axis=1)
        for number, index in enumerate(indexes)
    ]
    order = np.argsort(names, kind="stable")
    names, places = names[order], np.concatenate(columns)[order]
    twice = np.flatnonzero(names[1:] == names[:-1])
    if len(twice):
        at = int(twice[0])
        first, second = (parts[int(number)] for number in places[at : at + 2, 0])
        name = bytes(names[at]).decode()
        raise InputError(second, f"{name!r}, which {first} has as well", "every file once")
    skipped = _common_folder(names)
    if skipped:
        names = np.array([bytes(name)[skipped:] for name in names])
    return TarParts(root, tuple(parts), names, places)


def _common_folder(names: Shaped[np.ndarray, " member"]) -> int:
    """How long the name of the folder is that the trajectories of all clips lie in."""
    # Sorted: what the first and the last begin with, all do.
    first, last = (bytes(names[at]).split(b"/") for at in (0, -1))
    # At least `<trajectory>/<kind>/<file>` is left.
    most = max(int(np.char.count(names, b"/").min()) - 2, 0)
    length = 0
    for one, other in zip(first[:most], last[:most], strict=True):
        if one != other:
            break
        length += len(one) + 1
    return length
