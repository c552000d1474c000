"""MP4 files in fragments (`moof` boxes), as DASH, browsers and live recorders write them.

They list at most the first fragment in the index at their head: neither the number of frames nor a
cut file can be told from it.
"""

import struct
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

from ...runtime import InputError

HEADER, LONG_HEADER = 8, 16
# Boxes with pictures or their positions; recorders append boxes of any name.
CONTENT = (b"moov", b"moof", b"mdat", b"sidx")
# The index of a day in fragments of a second has about a megabyte.
LONGEST_INDEX = 1 << 24


def is_fragmented(path: Path) -> bool:
    """Whether an MP4 file holds fragments, or announces some; `InputError` if it is truncated."""
    fragmented, promised = False, 0
    with path.open("rb") as file:
        length = file.seek(0, 2)
        for name, start, size in _boxes(file, length):
            if name == b"sidx":
                promised = max(promised, start + size + _indexed_bytes(file, start, size))
            if name in CONTENT:
                promised = max(promised, start + size)
            fragmented = fragmented or name in (b"moof", b"sidx")
            if name == b"moov":
                fragmented = fragmented or b"mvex" in _body(file, start, size)
    if fragmented and promised > length:
        raise InputError(path, f"{length} bytes (truncated)", f"at least {promised} bytes")
    return fragmented


def _boxes(file: BufferedReader, length: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield name, start and size of each box at the top of a file."""
    start = 0
    while start + HEADER <= length:
        file.seek(start)
        head = file.read(LONG_HEADER)
        size, name = struct.unpack(">I4s", head[:HEADER])
        if size == 1 and len(head) == LONG_HEADER:
            size = int.from_bytes(head[HEADER:], "big")
        elif size == 0:
            size = length - start
        if size < HEADER:
            return
        yield name, start, size
        start += size


def _indexed_bytes(file: BufferedReader, start: int, size: int) -> int:
    """The bytes that the segments after a segment index take, by the index."""
    body = _body(file, start, size)
    # Version and flags, two ids, then earliest time and first offset of 4 or 8 bytes each.
    wide = bool(body) and body[0] > 0
    begin = 12 + (8 if wide else 4)
    first = body[begin : begin + (8 if wide else 4)]
    count_at = begin + len(first) + 2
    count = int.from_bytes(body[count_at : count_at + 2], "big")
    entries = body[count_at + 2 : count_at + 2 + 12 * count]
    sizes = (int.from_bytes(entries[at : at + 4], "big") for at in range(0, len(entries), 12))
    # The first bit marks another index.
    return int.from_bytes(first, "big") + sum(size & 0x7FFFFFFF for size in sizes)


def _body(file: BufferedReader, start: int, size: int) -> bytes:
    file.seek(start + HEADER)
    return file.read(min(size - HEADER, LONGEST_INDEX))
