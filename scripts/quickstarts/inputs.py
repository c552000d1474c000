"""Pictures and videos among what the user gives, what is left out, and names for their results."""

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from src.io.image.folders import HEIC_SUFFIXES, PICTURE_SUFFIXES, VIDEO_SUFFIXES
from src.io.image.image import HEIC_EXPECTED, can_read_heic
from src.runtime import InputError

REFLECTED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Inputs:
    """What becomes scenes, and why the other files of a folder do not."""

    pictures: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    left_out: tuple[tuple[Path, str], ...] = ()


def find_inputs(source: Path) -> Inputs:
    """The pictures and videos that a path is or holds; hidden files do not count.

    In a folder a name says what a path is meant to be, also that of a link to nowhere.

    Raises:
        InputError: a file of another type, a folder without a picture or a video.
    """
    pictures, videos = _picture_suffixes(), VIDEO_SUFFIXES
    paths = sorted(source.iterdir()) if source.is_dir() else [source]
    paths = [path for path in paths if path == source or not path.name.startswith(".")]
    found = Inputs(
        pictures=tuple(path for path in paths if _fault(path, pictures) is None),
        videos=tuple(path for path in paths if _fault(path, videos) is None),
        left_out=tuple(
            (path, fault)
            for path in paths
            if (fault := _fault(path, pictures + videos)) is not None
        ),
    )
    if found.pictures or found.videos:
        return found
    if source.is_dir():
        value = "neither pictures nor videos in it"
        raise InputError(source, value, f"files that end with {_listed(pictures + videos)}")
    raise InputError(source, found.left_out[0][1], _listed(pictures + videos))


def folder_name(source: Path, contents: Iterable[Path], *words: str) -> str:
    """A name for the results of an input: its own, and a checksum of contents and words.

    The name has no letter that means something to a shell or in a setting.
    """
    stem = source.name.rpartition(".")[0] or source.name
    safe = re.sub(rb"[^A-Za-z0-9._-]", b"_", os.fsencode(stem)).decode()
    lines = (f"{word}\n".encode() for word in words)
    return f"{safe}_{cksum(chain(_pieces(contents), lines))}"


def cksum(pieces: Iterable[bytes]) -> int:
    """The checksum of the pieces together, as the command of this name prints it."""
    # POSIX takes the bits of each byte from the other end than zlib.
    state, length = 0xFFFFFFFF, 0
    for piece in pieces:
        state, length = zlib.crc32(piece.translate(REFLECTED), state), length + len(piece)
    ending = length.to_bytes((length.bit_length() + 7) // 8, "little")
    state = zlib.crc32(ending.translate(REFLECTED), state)
    return int(f"{state:032b}"[::-1], 2)


def _pieces(paths: Iterable[Path]) -> Iterator[bytes]:
    """The contents of files, one after another, and the names of those that cannot be read."""
    for path in paths:
        try:
            with path.open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
        except OSError:
            # The generator says why; the other inputs become scenes all the same.
            yield os.fsencode(path.name)


def _picture_suffixes() -> tuple[str, ...]:
    """The suffixes of the pictures that can be read here."""
    return PICTURE_SUFFIXES + (HEIC_SUFFIXES if can_read_heic() else ())


def _fault(path: Path, suffixes: tuple[str, ...]) -> str | None:
    """Why a path has none of these suffixes, in a few words; None where it has."""
    suffix = path.suffix.lower()
    if suffix in suffixes:
        return None
    if not path.is_file():
        return "a folder" if path.is_dir() else "no file"
    if suffix in HEIC_SUFFIXES:
        return f"HEIC, which wants {HEIC_EXPECTED}, or save it as jpg"
    return f"unknown type of file ({path.suffix or 'no suffix'})"


def _listed(suffixes: tuple[str, ...]) -> str:
    return f"a picture or a video: {', '.join(suffixes)}"
