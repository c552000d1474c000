"""Fetches the files of sources, after access and room are checked.

A file is sound if it has the catalogue's checksum or one that the user accepted; without either, if
it has the server's own digest. With the server's digest and another checksum than the catalogue's
it is whole, but another version.
"""

import errno
import logging
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto
from fnmatch import fnmatchcase
from pathlib import Path

from src.runtime import InputError

from .catalogue import Source
from .stores import Digests, NoConnection, Offer, check_access, fetch, offers, part_path

LOG = logging.getLogger("download_checkpoints")
# Bytes that stay free.
SPARE_BYTES = 2**30


class State(Enum):
    """The state of a file in its place; see the module."""

    SOUND = auto()
    OTHER_VERSION = auto()
    DAMAGED = auto()


@dataclass(frozen=True)
class Wanted:
    """A file: its source, its name there, and its folder here."""

    source: Source
    name: str
    folder: Path
    offer: Offer

    @property
    def path(self) -> Path:
        """The file on the disk."""
        return self.folder / self.name

    @property
    def key(self) -> str:
        """Its name among the accepted checksums."""
        return f"{self.source.folder}/{self.name}"

    @property
    def expected(self) -> str | None:
        """The checksum of the catalogue."""
        return self.source.checksums.get(self.name)

    def has_size(self, path: Path) -> bool:
        """Whether a file has the size of the server's."""
        return path.stat().st_size == self.offer.size

    def judge(self, path: Path, digests: Digests, accepted: str | None) -> State:
        """Returns the state of a file at `path` that stands for this one."""
        if digests.fit(self.expected) or digests.fit(accepted):
            return State.SOUND
        if not self.has_size(path):
            return State.DAMAGED
        if self.offer.digest is None:
            return State.DAMAGED if self.expected else State.SOUND
        if not digests.fit(self.offer.digest):
            return State.DAMAGED
        return State.OTHER_VERSION if self.expected else State.SOUND

    def identity(self, digests: Digests) -> str:
        """Returns the digest that distinguishes contents of this file."""
        return digests.find((self.offer.digest or self.expected or "sha256:").partition(":")[0])


def wanted_files(source: Source, folder: Path, offers: Mapping[str, Offer]) -> Iterator[Wanted]:
    """Yields the files of a repository that a source takes; raises if a needed one is missing."""
    wanted = [name for name in sorted(offers) if source.takes(name)]
    for pattern in source.files:
        if not any(fnmatchcase(name, pattern) for name in wanted):
            raise InputError(source.repository, f"no file {pattern}", "a complete repository")
    yield from (
        Wanted(source=source, name=name, folder=folder, offer=offers[name]) for name in wanted
    )


def by_hand(sources: Sequence[tuple[Source, Path]]) -> str:
    """Names the missing files with their repositories and folders."""
    parts = []
    for source, folder in sources:
        names = [name for name in source.files if not (folder / name).is_file()]
        if names:
            parts.append(f"{', '.join(names)} of {source.repository} into {folder}")
    return "; ".join(parts)


def free_bytes(path: Path) -> int:
    """Returns the free bytes of the disk of a folder."""
    return shutil.disk_usage(path).free


@dataclass
class Download:
    """Fetches files into their folders; leaves sound files alone.

    Args:
        accepted: checksums by `Wanted.key` that count beside the catalogue's.
        accept: add the files of another version than the catalogue's to `accepted`.
    """

    accepted: dict[str, str] = field(default_factory=dict)
    accept: bool = False
    # Files of another version that are kept, but not accepted.
    others: list[Path] = field(default_factory=list)

    def __call__(self, sources: Sequence[tuple[Source, Path]]) -> list[Path]:
        """Completes and returns all files of the sources.

        Raises `InputError` for a file that its repository lacks, no access, no connection, too
        little room for the missing files, a file that arrives damaged twice.
        """
        try:
            return self._complete(sources)
        except NoConnection as error:
            expected = f"{error.expected}, or copied by hand: {by_hand(sources)}"
            raise InputError(error.source, error.value, expected) from error

    def _complete(self, sources: Sequence[tuple[Source, Path]]) -> list[Path]:
        wanted = [
            file
            for source, folder in sources
            for file in wanted_files(source, folder, offers(source))
        ]
        missing = [file for file in wanted if not self._is_there(file)]
        # A missing licence must show before hours of other downloads.
        for file in {file.source.repository: file for file in missing}.values():
            check_access(file.source, file.name)
        _check_room(missing)
        for index, file in enumerate(missing):
            size = file.offer.size / 1e6
            LOG.info("%d of %d: %s (%.1f MB)", index + 1, len(missing), file.path, size)
            with _disk_errors(file):
                self._fetch(file)
        return [file.path for file in wanted]

    def _is_there(self, file: Wanted) -> bool:
        """Whether there is a file in this place that can stay."""
        if not file.path.is_file():
            return False
        LOG.info("%s is there; checking it", file.path)
        digests = Digests(file.path)
        state = file.judge(file.path, digests, self.accepted.get(file.key))
        if file.offer.digest is None and self.accept and file.has_size(file.path):
            # Without a digest of the server, the user decides.
            state = State.SOUND if state is State.SOUND else State.OTHER_VERSION
        return self._keeps(file, state, digests)

    def _fetch(self, file: Wanted) -> None:
        """Fetches a file, a second time from the start if it arrives damaged."""
        earlier = []
        if file.offer.digest is None and file.path.is_file():
            earlier.append(file.identity(Digests(file.path)))
        file.path.unlink(missing_ok=True)
        for attempt in (1, 2):
            part = fetch(file.source, file.name, file.path, file.offer)
            digests = Digests(part)
            found = file.identity(digests)
            state = file.judge(part, digests, self.accepted.get(file.key))
            if file.offer.digest is None and found in earlier:
                # The same content twice was not damaged on its way.
                state = State.OTHER_VERSION
            if self._keeps(file, state, digests):
                part.replace(file.path)
                return
            part.unlink()
            earlier.append(found)
            LOG.warning("%s arrived damaged (%s), attempt %d of 2", file.path, found, attempt)
        expected = file.offer.digest or file.expected or f"{file.offer.size} bytes"
        value = f"{' and '.join(earlier[-2:])} in two downloads"
        raise InputError(file.path, value, f"{expected}; nothing of it was kept, run it again")

    def _keeps(self, file: Wanted, state: State, digests: Digests) -> bool:
        """Whether a file of this state is kept; warns of another version."""
        if state is State.OTHER_VERSION:
            assert file.expected is not None, f"{file.path} has no version of the catalogue"
            found = digests.find(file.expected.partition(":")[0])
            text = "%s: the hub has another version than the one this program was checked with"
            LOG.warning(text + ": %s, not %s; it is kept", file.path, found, file.expected)
            if self.accept:
                self.accepted[file.key] = found
            else:
                self.others.append(file.path)
        return state is not State.DAMAGED


@contextmanager
def _disk_errors(file: Wanted) -> Iterator[None]:
    """Turns errors of the disk into input errors that name the file."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENOSPC:
            expected = f"{file.offer.size / 1e9:.1f} GB"
            raise InputError(file.path, "a full disk", expected) from error
        raise InputError(file.path, error, "a whole download; run it again") from error


def _check_room(missing: Sequence[Wanted]) -> None:
    """Raises unless every disk has room for its files."""
    needed: dict[Path, int] = {}
    for file in missing:
        # A damaged file makes room, and a part that has arrived does not come again.
        places = (file.path, part_path(file.path, file.offer.version))
        there = sum(path.stat().st_size for path in places if path.is_file())
        base = next(path for path in (file.folder, *file.folder.parents) if path.exists())
        needed[base] = needed.get(base, 0) + max(0, file.offer.size - there)
    disks: dict[int, list[Path]] = {}
    for base in needed:
        disks.setdefault(base.stat().st_dev, []).append(base)
    for bases in disks.values():
        total, free = sum(needed[base] for base in bases), free_bytes(bases[0])
        if total + SPARE_BYTES > free:
            value = f"{free / 1e9:.1f} GB free"
            expected = f"{(total + SPARE_BYTES) / 1e9:.1f} GB for {len(missing)} files"
            raise InputError(bases[0], value, expected)
