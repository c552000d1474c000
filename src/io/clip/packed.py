"""Clips in tar parts as a read-only folder tree, without unpacking them.

A `PackedPath` replaces the `Path` of an unpacked folder: `/`, `is_dir`, `is_file`, `iterdir`,
`open`. Nothing is ever extracted, so no name can lead to another place.
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
    """The members of all parts, by name.

    Sorted arrays, not dictionaries: worker processes share them, and millions of files fit.
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
            # The contents of a folder end before the character after the slash.
            at = self._place(prefix + child + b"0") if slash else at + 1
        return found

    def _place(self, name: bytes) -> int:
        return bisect_left(self.names, name)


class _Range(io.RawIOBase):
    """A range of a file's bytes as a file of its own; every reader opens one, with its position."""

    def __init__(self, path: Path, offset: int, size: int) -> None:
        super().__init__()
        self._file, self._offset, self._size, self._at = path.open("rb", 0), offset, size, 0

    def readable(self) -> bool:
        """True."""
        return True

    seekable = readable

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a position, counted from the start, the current position or the end."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise OSError(f"position {base + offset} before the start")
        self._at = base + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer as far as the range reaches; returns the number of bytes."""
        count = max(min(len(buffer), self._size - self._at), 0)
        if not count:
            return 0
        self._file.seek(self._offset + self._at)
        got = self._file.readinto(memoryview(buffer)[:count]) or 0
        self._at += got
        return got

    def close(self) -> None:
        """Close the part, too."""
        self._file.close()
        super().close()


class PackedPath(type(Path())):
    """A file or folder in tar parts; the text of a file's path begins with its part."""

    # Class attributes, because `Path` makes its objects without `__init__`.
    _archive: TarParts
    _inner: str

    @classmethod
    def at(cls, archive: TarParts, inner: str = "") -> "PackedPath":
        """The file or folder `inner`; the root by default."""
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
        """A plain path: only `/` stays within the parts; parents and the like are names."""
        return Path(*segments)

    def is_file(self) -> bool:
        """Whether some part has this file."""
        return self._archive.find(self._inner) is not None

    def is_dir(self) -> bool:
        """Whether some part has a file below this path."""
        return not self.is_file() and self._archive.has_folder(self._folder)

    def exists(self) -> bool:
        """Whether this is a file or a folder."""
        return self.is_file() or self.is_dir()

    def iterdir(self) -> Iterator["PackedPath"]:
        """Yield the entries of the folder, sorted by name."""
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
        """Open for reading, in mode `r` or `rb`; `InputError` if the part was cut since indexed."""
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
    """A text as a path; a path unchanged, because `Path()` would lose the tar parts."""
    return path if isinstance(path, Path) else Path(path)


def open_root(root: Path | str) -> Path:
    """The folder of clips at `root`: unpacked clips or tar parts, one part, or a pattern of parts.

    A pattern is like `data/part-*.tar`. Raises `InputError` for a pattern without a part,
    compressed, damaged or truncated parts, a file that occurs twice, and a folder with both parts
    and unpacked clips.
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
    """The members of all parts, without the folders that all names begin with."""
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
    # At least `<trajectory>/<kind>/<file>` is left of every name.
    most = max(int(np.char.count(names, b"/").min()) - 2, 0)
    # Names are sorted: folders that the first and the last share are shared by all.
    first, last = (bytes(names[at]).split(b"/")[:most] for at in (0, -1))
    skipped = sum(len(folder) + 1 for folder in os.path.commonprefix([first, last]))
    if skipped:
        names = np.array([bytes(name)[skipped:] for name in names])
    return TarParts(root, tuple(parts), names=names, places=places)
