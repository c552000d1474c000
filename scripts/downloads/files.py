"""The files that a download wants, and the state of what lies in their place.

A file is sound when it has the checksum that this program was checked with, or one that the user
accepted; where there is neither, when it has the server's own digest. With the server's digest and
another checksum than the catalogue's it is whole, but another version.
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
    """What lies in the place of a file; see the module."""

    SOUND = auto()
    OTHER_VERSION = auto()
    DAMAGED = auto()


@dataclass(frozen=True)
class Wanted:
    """One file: where it comes from, its name there, the folder it goes into."""

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
        """The checksum that this program was checked with."""
        return self.source.checksums.get(self.name)

    def has_size(self, path: Path) -> bool:
        """Whether what lies at a path has the size that the server tells."""
        return path.stat().st_size == self.offer.size

    def judge(self, path: Path, digests: Digests, accepted: str | None) -> State:
        """The state of what lies at a path in the place of this file."""
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
        """The digest that tells one content in this place from another."""
        return digests.find((self.offer.digest or self.expected or "sha256:").partition(":")[0])


def wanted_files(source: Source, folder: Path, offers: Mapping[str, Offer]) -> Iterator[Wanted]:
    """The files of a repository that a source takes.

    Raises:
        InputError: one that is needed is not offered.
    """
    wanted = [name for name in sorted(offers) if source.takes(name)]
    for pattern in source.files:
        if not any(fnmatchcase(name, pattern) for name in wanted):
            raise InputError(source.repository, f"no file {pattern}", "a complete repository")
    yield from (Wanted(source, name, folder, offers[name]) for name in wanted)


def by_hand(sources: Sequence[tuple[Source, Path]]) -> str:
    """Which files of which repository are missing in which folder, in words."""
    parts = []
    for source, folder in sources:
        names = [name for name in source.files if not (folder / name).is_file()]
        if names:
            parts.append(f"{', '.join(names)} of {source.repository} into {folder}")
    return "; ".join(parts)
