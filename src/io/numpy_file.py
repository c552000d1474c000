"""Untrusted .npy and .npz files of plain numbers.

An array's header is compared with the bytes that follow before anything is allocated; pickled
objects and structured types are refused.
"""

import io
import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
from jaxtyping import Shaped

from ..runtime import InputError
from .archive import open_archive, read_member
from .damage import DAMAGES, check_file

NUMBERS = "buifc"
LONGEST_HEADER = 10_000


def read_npy(path: Path, expected: str) -> Shaped[np.ndarray, "*shape"]:
    """The array of an .npy file; `InputError` if it cannot be read."""
    check_file(path, expected)
    try:
        content = path.read_bytes()
    except (OSError, MemoryError) as error:
        raise InputError(path, f"unreadable ({error})", expected) from error
    return _parse(path, path.name, content, expected=expected)


def read_npz(
    path: Path, expected: str, names: Collection[str] | None = None
) -> dict[str, Shaped[np.ndarray, "*_"]]:
    """The arrays of an .npz file, all or those of `names`; `InputError` for damage or pickles."""
    arrays = {}
    with open_archive(path, expected) as archive:
        for member in dict.fromkeys(archive.namelist()):
            name = member.removesuffix(".npy")
            if name != member and (names is None or name in names):
                content = read_member(path, archive, member, expected=expected)
                arrays[name] = _parse(path, name, content, expected=expected)
    return arrays


def npz_names(path: Path, expected: str) -> list[str]:
    """The names of the arrays in an .npz file, sorted."""
    with open_archive(path, expected) as archive:
        return sorted(name.removesuffix(".npy") for name in archive.namelist())


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
