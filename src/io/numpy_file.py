"""Arrays of numbers in .npy and .npz files of others.

The header of an array is compared with the bytes that follow before anything is allocated; pickled
objects and structures are refused.
"""

import io
import math
import struct
import tokenize
from collections.abc import Collection
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from ..runtime import InputError
from .archive import open_archive, read_member

# What numpy's parser of headers raises on damaged ones.
DAMAGES = (
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    SyntaxError,
    EOFError,
    OverflowError,
    RecursionError,
    MemoryError,
    struct.error,
    tokenize.TokenError,
)
NUMBERS = "buifc"
LONGEST_HEADER = 10_000


def read_npy(path: Path, expected: str) -> Shaped[np.ndarray, "*shape"]:
    """The array of an .npy file; `InputError` if it cannot be read."""
    if not path.is_file():
        raise InputError(path, "no such file", expected)
    try:
        content = path.read_bytes()
    except (OSError, MemoryError) as error:
        raise InputError(path, f"unreadable ({error})", expected) from error
    return _parse(path, path.name, content, expected)


def read_npz(
    path: Path, expected: str, names: Collection[str] | None = None
) -> dict[str, Shaped[np.ndarray, "*_"]]:
    """The arrays of an .npz file, or those among `names` that it has.

    Raises:
        InputError: a missing, truncated or damaged file, pickled arrays, headers that promise
            another number of bytes than follows.
    """
    with open_archive(path, expected) as archive:
        members = {
            name.removesuffix(".npy"): name
            for name in archive.namelist()
            if name.endswith(".npy") and (names is None or name.removesuffix(".npy") in names)
        }
        return {
            name: _parse(path, name, read_member(path, archive, member, expected), expected)
            for name, member in members.items()
        }


def npz_names(path: Path, expected: str) -> list[str]:
    """The names of the arrays in an .npz file, sorted."""
    with open_archive(path, expected) as archive:
        return sorted(name.removesuffix(".npy") for name in archive.namelist())


def npz_shapes(path: Path, names: Collection[str]) -> list[tuple[int, ...]]:
    """The shapes of those among `names` that an .npz file has."""
    return [array.shape for array in read_npz(path, "an npz file", names).values()]


def _parse(path: Path, name: str, content: bytes, expected: str) -> Shaped[np.ndarray, "*shape"]:
    """The array in the bytes of an .npy file, read-only."""
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        shape, fortran, dtype = readers[version](file, max_header_size=LONGEST_HEADER)
    except DAMAGES as error:
        value = f"unreadable ({name}: {str(error).splitlines()[0] if str(error) else 'damaged'})"
        raise InputError(path, value, expected) from error
    if dtype.hasobject or dtype.kind not in NUMBERS:
        kind = "pickled objects" if dtype.hasobject else f"the type {str(dtype)[:80]}"
        raise InputError(path, f"unreadable ({name} with {kind})", expected)
    follow, promised = len(content) - file.tell(), math.prod(shape) * dtype.itemsize
    if min(shape, default=1) < 0 or promised != follow:
        found = f"{name} of shape {str(shape)[:80]} {dtype} in {follow} bytes"
        raise InputError(path, found, f"{expected}, {dtype.itemsize} bytes a number")
    try:
        flat = np.frombuffer(content, dtype, math.prod(shape), offset=file.tell())
        return flat.reshape(shape, order="F" if fortran else "C")
    except DAMAGES as error:
        raise InputError(path, f"unreadable ({name}: {error})", expected) from error
