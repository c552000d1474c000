"""Fetch the files of a source: room on the disk first, checksums after, one more try between."""

import errno
import hashlib
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Protocol

from src.runtime import InputError

from .catalogue import Source

LOG = logging.getLogger("download_checkpoints")
# Left free beside what is downloaded.
SPARE_BYTES = 2**30


class Store(Protocol):
    """Where files come from."""

    def sizes(self, source: Source) -> Mapping[str, int]:
        """Names of the files of a repository that the source may need, and their bytes."""
        ...

    def fetch(self, source: Source, name: str, folder: Path, force: bool) -> None:
        """Make `folder / name`, resuming an earlier attempt unless `force` starts anew."""
        ...


@dataclass(frozen=True)
class Wanted:
    """One file: where it comes from, its name there, the folder it goes into, its bytes."""

    source: Source
    name: str
    folder: Path
    size: int

    @property
    def path(self) -> Path:
        """The file on the disk."""
        return self.folder / self.name

    def present(self) -> bool:
        """Whether a file of the right size lies there, of whatever content."""
        return self.path.is_file() and self.path.stat().st_size == self.size


def download(
    sources: Sequence[tuple[Source, Path]],
    store: Store,
    free_bytes: Callable[[Path], int] | None = None,
) -> list[Path]:
    """Fetch all files of the sources into their folders; returns the files.

    Files that are there with the right size and checksum are left alone.

    Raises:
        InputError: a file that its repository lacks, too little room for all that is missing, a
            checksum that is wrong twice, what the store raises.
    """
    wanted = [file for source, folder in sources for file in _wanted(source, folder, store)]
    _check_room([file for file in wanted if not file.present()], free_bytes or _free_bytes)
    for index, file in enumerate(wanted):
        LOG.info("%d of %d: %s (%.1f MB)", index + 1, len(wanted), file.path, file.size / 1e6)
        _fetch(file, store)
    return [file.path for file in wanted]


def checksum(path: Path, algorithm: str) -> str:
    """The hexadecimal digest of a file, read piece by piece."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()


def _wanted(source: Source, folder: Path, store: Store) -> Iterator[Wanted]:
    """The files of a repository that match the source's patterns."""
    sizes = store.sizes(source)
    for pattern in source.files:
        if not any(fnmatchcase(name, pattern) for name in sizes):
            raise InputError(source.repository, f"no file {pattern}", "a complete repository")
    for name, size in sorted(sizes.items()):
        if any(fnmatchcase(name, pattern) for pattern in (*source.files, *source.optional)):
            yield Wanted(source, name, folder, size)


def _check_room(missing: list[Wanted], free_bytes: Callable[[Path], int]) -> None:
    """Raise unless every disk has room for what goes there."""
    needed: dict[Path, int] = {}
    for file in missing:
        base = next(path for path in (file.folder, *file.folder.parents) if path.exists())
        needed[base] = needed.get(base, 0) + file.size
    disks: dict[int, list[Path]] = {}
    for base in needed:
        disks.setdefault(base.stat().st_dev, []).append(base)
    for bases in disks.values():
        total, free = sum(needed[base] for base in bases), free_bytes(bases[0])
        if total + SPARE_BYTES > free:
            value = f"{free / 1e9:.1f} GB free"
            expected = f"{(total + SPARE_BYTES) / 1e9:.1f} GB for {len(missing)} files"
            raise InputError(bases[0], value, expected)


def _fetch(file: Wanted, store: Store) -> None:
    """Fetch one file unless it is there; once more from the start if its content is wrong."""
    if file.present() and _fault(file) is None:
        return
    fault = None
    for force in (False, True):
        file.folder.mkdir(parents=True, exist_ok=True)
        try:
            store.fetch(file.source, file.name, file.folder, force)
        except OSError as error:
            full = error.errno == errno.ENOSPC
            expected = f"{file.size / 1e9:.1f} GB" if full else "a whole download; run it again"
            raise InputError(file.path, "a full disk" if full else error, expected) from error
        fault = _fault(file)
        if fault is None:
            return
        LOG.warning("%s: %s", file.path, fault)
    expected = f"{file.size} bytes, {file.source.checksums.get(file.name, 'any checksum')}"
    raise InputError(file.path, f"{fault} after a second download", expected)


def _fault(file: Wanted) -> str | None:
    """What is wrong with a file on the disk, or None."""
    if not file.present():
        size = file.path.stat().st_size if file.path.is_file() else 0
        return f"{size} bytes"
    expected = file.source.checksums.get(file.name)
    if expected is None:
        return None
    algorithm, digest = expected.split(":")
    found = checksum(file.path, algorithm)
    return None if found.startswith(digest) else f"{algorithm} {found}"


def _free_bytes(path: Path) -> int:
    return shutil.disk_usage(path).free
