"""The vertices of a PLY file as a table; its header is compared with the file's length first."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from ...runtime import InputError
from ..damage import DAMAGES, check_file

EXPECTED = "a complete PLY file with an element `vertex`"
LONGEST_HEADER = 1 << 16
# More digits are damage; Python refuses numbers of thousands of digits.
LONGEST_NUMBER = 15
SIZES = {
    **dict.fromkeys(("char", "uchar", "int8", "uint8"), 1),
    **dict.fromkeys(("short", "ushort", "int16", "uint16"), 2),
    **dict.fromkeys(("int", "uint", "int32", "uint32", "float", "float32"), 4),
    **dict.fromkeys(("double", "float64"), 8),
}


@dataclass
class _Element:
    """An element of a header: the least bytes of a row, and whether all rows have as many."""

    name: str
    count: int
    row_bytes: int = 0
    fixed: bool = True


def read_vertices(path: Path) -> Shaped[np.ndarray, " vertex"]:
    """The rows of the element `vertex`; `InputError` for a damaged file or another length."""
    from plyfile import PlyData, PlyParseError

    check_file(path, EXPECTED)
    try:
        _check_length(path)
        return PlyData.read(str(path))["vertex"].data
    except InputError:
        raise
    except KeyError as error:
        raise InputError(path, "no element `vertex`", EXPECTED) from error
    except (PlyParseError, *DAMAGES) as error:
        reason = str(error)[:200] or type(error).__name__
        raise InputError(path, f"unreadable ({reason})", EXPECTED) from error


def _check_length(path: Path) -> None:
    """Raise for a file that is shorter or longer than its header says."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(LONGEST_HEADER)
    start = head.find(b"end_header")
    if not head.startswith(b"ply") or start < 0:
        raise InputError(path, "unreadable (no PLY header)", EXPECTED)
    end = start + len(b"end_header")
    end += 2 if head[end : end + 2] == b"\r\n" else 1
    # Old programs end lines with a single carriage return.
    lines = head[:start].replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    lines = [line.split() for line in lines.decode("ascii", "replace").split("\n")]
    binary = not any(line[:2] == ["format", "ascii"] for line in lines)
    elements = _elements(path, lines)
    # A number in a text file takes at least a digit and a space.
    least = sum(e.count * max(e.row_bytes if binary else 2, 1) for e in elements if e.count)
    if least > size - end + (0 if binary else 1):
        value = f"unreadable (early end-of-file, {size - end} bytes of data)"
        raise InputError(path, value, f"{EXPECTED}, at least {least:.6g} bytes")
    if binary and all(element.fixed for element in elements) and least < size - end:
        value = f"{size - end - least} surplus bytes at the end"
        raise InputError(path, value, f"{EXPECTED} and nothing else")


def _elements(path: Path, lines: list[list[str]]) -> list[_Element]:
    elements: list[_Element] = []
    for words in lines:
        if words[:1] == ["element"]:
            if len(words) != 3 or not words[2].isdecimal() or len(words[2]) > LONGEST_NUMBER:
                value = f"unreadable ({' '.join(words)[:80]})"
                raise InputError(path, value, f"{EXPECTED}, `element NAME COUNT`")
            elements.append(_Element(words[1], int(words[2])))
        elif words[:1] == ["property"] and elements:
            elements[-1].fixed = elements[-1].fixed and words[1:2] != ["list"]
            elements[-1].row_bytes += 1 if "list" in words[1:2] else _size(path, words)
    return elements


def _size(path: Path, words: list[str]) -> int:
    if len(words) != 3 or words[1] not in SIZES:
        value = f"unreadable ({' '.join(words)[:80]})"
        raise InputError(path, value, f"{EXPECTED}, `property TYPE NAME`")
    return SIZES[words[1]]
