"""The files of a download, and the state of the files in their places.

A file is sound if it has the catalogue's checksum or one that the user accepted; without either, if
it has the server's own digest. With the server's digest and another checksum than the catalogue's
it is whole, but another version.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from fnmatch import fnmatchcase
from pathlib import Path

from src.runtime import InputError

from .catalogue import Source
from .checksums import Digests
from .stores import Offer


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
