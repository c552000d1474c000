"""Checksums of files as `algorithm:hexadecimal digest`, and the checksums that a user accepted."""

import hashlib
from pathlib import Path

from src.io.json_object import read_json_object, write_json
from src.runtime import InputError

# Git's digest of a file: the sha1 of its size and content.
GIT_BLOB = "git-sha1"
ACCEPTED = "accepted_checksums.json"
PIECE_BYTES = 2**22


def checksum(path: Path, algorithm: str) -> str:
    """Returns the hexadecimal digest of a file, read piece by piece."""
    if algorithm == GIT_BLOB:
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size)
    else:
        digest = hashlib.new(algorithm)
    with path.open("rb") as file:
        while piece := file.read(PIECE_BYTES):
            digest.update(piece)
    return digest.hexdigest()


class Digests:
    """The digests of one file, each computed once, on demand."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, str] = {}

    def find(self, algorithm: str) -> str:
        """Returns `algorithm:hexadecimal digest`."""
        if algorithm not in self._known:
            self._known[algorithm] = checksum(self._path, algorithm)
        return f"{algorithm}:{self._known[algorithm]}"

    def fit(self, expected: str | None) -> bool:
        """Whether the file has a checksum, of which the beginning suffices."""
        return expected is not None and self.find(expected.partition(":")[0]).startswith(expected)


def read_accepted(folder: Path) -> dict[str, str]:
    """Reads the checksums that a user accepted earlier, by file name."""
    path = folder / ACCEPTED
    if not path.exists():
        return {}
    accepted = read_json_object(path)
    for name, text in accepted.items():
        algorithm = text.partition(":")[0] if isinstance(text, str) else ""
        if algorithm not in hashlib.algorithms_guaranteed:
            raise InputError(path, f"{name}: {text!r}", "algorithm:hexadecimal digest")
    return accepted


def write_accepted(folder: Path, accepted: dict[str, str]) -> None:
    """Writes the accepted checksums for later runs."""
    write_json(folder / ACCEPTED, dict(sorted(accepted.items())), indent=2)
