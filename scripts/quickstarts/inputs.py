"""The pictures and videos of the user, the files that are left out, and names for results."""

import os
import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from src.io.image import (
    HEIC_EXPECTED,
    HEIC_SUFFIXES,
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    can_read_heic,
    is_picture,
    is_video,
)
from src.runtime import InputError

REFLECTED = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))
PIECE_BYTES = 2**20


@dataclass(frozen=True)
class Inputs:
    """The files that become scenes, and the other files of a folder with their reasons."""

    pictures: tuple[Path, ...] = ()
    videos: tuple[Path, ...] = ()
    left_out: tuple[tuple[Path, str], ...] = ()


def find_inputs(source: Path) -> Inputs:
    """Returns the picture or video at a path, or all of a folder without hidden files.

    In a folder the suffix alone decides, even that of a broken link. Raises `InputError` for a file
    of another type, a folder without a picture or a video.
    """
    suffixes = PICTURE_SUFFIXES + (HEIC_SUFFIXES if can_read_heic() else ()) + VIDEO_SUFFIXES
    paths = sorted(source.iterdir()) if source.is_dir() else [source]
    paths = [path for path in paths if path == source or not path.name.startswith(".")]
    taken = [path for path in paths if path.suffix.lower() in suffixes]
    found = Inputs(
        pictures=tuple(path for path in taken if is_picture(path)),
        videos=tuple(path for path in taken if is_video(path)),
        left_out=tuple((path, _fault(path)) for path in paths if path not in taken),
    )
    if found.pictures or found.videos:
        return found
    if source.is_dir():
        value = "neither pictures nor videos in it"
        raise InputError(source, value, f"files that end with {_listed(suffixes)}")
    raise InputError(source, found.left_out[0][1], _listed(suffixes))


def folder_name(source: Path, contents: Iterable[Path], *words: str) -> str:
    """Returns a name for the results: that of the input, and a checksum of contents and words.

    It has no character with a meaning in a shell or in a setting.
    """
    stem = source.name.rpartition(".")[0] or source.name
    safe = re.sub(rb"[^A-Za-z0-9._-]", b"_", os.fsencode(stem)).decode()
    lines = (f"{word}\n".encode() for word in words)
    return f"{safe}_{cksum(chain(_pieces(contents), lines))}"


def cksum(pieces: Iterable[bytes]) -> int:
    """Returns the checksum of all pieces, as the command `cksum` prints it."""
    # POSIX reads the bits of a byte in the opposite order to zlib.
    state, length = 0xFFFFFFFF, 0
    for piece in pieces:
        state, length = zlib.crc32(piece.translate(REFLECTED), state), length + len(piece)
    ending = length.to_bytes((length.bit_length() + 7) // 8, "little")
    state = zlib.crc32(ending.translate(REFLECTED), state)
    return int(f"{state:032b}"[::-1], 2)


def _pieces(paths: Iterable[Path]) -> Iterator[bytes]:
    """Yields the contents of files; the name instead if a file cannot be read."""
    for path in paths:
        try:
            with path.open("rb") as file:
                while piece := file.read(PIECE_BYTES):
                    yield piece
        except OSError:
            # The generator reports it; the other inputs still become scenes.
            yield os.fsencode(path.name)


def _fault(path: Path) -> str:
    """Returns why a path is left out."""
    if not path.is_file():
        return "a folder" if path.is_dir() else "no file"
    if is_picture(path):
        return f"HEIC, which wants {HEIC_EXPECTED}, or save it as jpg"
    return f"unknown type of file ({path.suffix or 'no suffix'})"


def _listed(suffixes: tuple[str, ...]) -> str:
    return f"a picture or a video: {', '.join(suffixes)}"
