"""Untrusted files: missing, damaged, or a Git LFS pointer; zip archives, numpy arrays, tensors.

Sizes that a header claims are compared with the bytes in the file before anything is read or
allocated, so that a small file cannot fill the memory. A member of an archive is read whole, so
that its checksum is compared; pickled objects and structured types of numpy are refused.
"""

import io
import math
import pickle
import re
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..runtime import InputError, listed
from .atomic import atomic_path

# Exceptions of decoders on damaged files: zip, pickle, numpy's headers, Pillow.
DAMAGES = (
    ArithmeticError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
LFS_START = b"version https://git-lfs"
# Other compressions need as much memory as a damaged header says.
COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# Arrays of numbers shrink by less than 100; below this size any ratio is harmless.
MOST_RATIO, HARMLESS_BYTES = 100, 1 << 26
NUMBERS = "buifc"
LONGEST_HEADER = 10_000
# The header of a plain array as numpy writes it. Numpy itself reads it as Python, at which CPython
# 3.11 and 3.12 may fail while other threads do the same (SystemError: AST constructor recursion).
PLAIN_HEADER = re.compile(
    rb"\{'descr': '([<>|]?[a-z]\d{1,3})', 'fortran_order': (True|False),"
    rb" 'shape': \((|\d{1,18},|\d{1,18}(?:, \d{1,18})+)\), \} *\n"
)
LENGTHS = {(1, 0): "<H", (2, 0): "<I"}


def check_file(path: Path, expected: str) -> None:
    """Raise `InputError` for a path that is no file, and for a Git LFS pointer."""
    if not path.is_file():
        missing = "a link to nowhere" if path.is_symlink() else "no such file"
        raise InputError(path, "a folder" if path.is_dir() else missing, expected)
    try:
        pointer = lfs_pointer(path)
    except OSError as error:
        raise InputError(path, f"unreadable ({error})", expected) from error
    if pointer:
        raise InputError(path, pointer, expected)


def lfs_pointer(path: Path) -> str | None:
    """Describes a Git LFS pointer for a message; None for any other file."""
    with path.open("rb") as file:
        if file.read(len(LFS_START)) != LFS_START:
            return None
    size = path.stat().st_size
    return f"a git-lfs pointer of {size} bytes in place of the file (`git lfs pull` gets it)"


@contextmanager
def open_archive(path: Path, expected: str) -> Iterator[zipfile.ZipFile]:
    """The archive at `path`; `InputError` if it is missing or cannot be read."""
    check_file(path, expected)
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        except DAMAGES as error:
            raise InputError(path, f"unreadable ({error})", expected) from error
        with archive:
            yield archive


def read_member(path: Path, archive: zipfile.ZipFile, name: str, expected: str) -> bytes:
    """The content of a member, its checksum compared; `KeyError` if there is none of this name."""
    member = archive.getinfo(name)
    if member.compress_type not in COMPRESSIONS:
        value = f"{name} with the compression {member.compress_type}"
        raise InputError(path, value, f"{expected}, stored or deflated")
    most = member.compress_size
    if member.compress_type != zipfile.ZIP_STORED:
        most = max(MOST_RATIO * member.compress_size, HARMLESS_BYTES)
    # The directory of the archive follows all members.
    if member.compress_size > archive.start_dir or member.file_size > most:
        value = f"{name} of {member.file_size} bytes out of {member.compress_size}"
        raise InputError(path, value, f"{expected} that holds what it claims")
    try:
        return archive.read(member)
    except DAMAGES as error:
        raise InputError(path, f"unreadable {name} ({error})", expected) from error


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> None:
    """Write (name, content) pairs as an uncompressed archive, atomically."""
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, content in members:
            # Without the present time, so that equal members give equal files.
            archive.writestr(zipfile.ZipInfo(name), content)


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
        found = _plain_header(file, version)
        shape, fortran, dtype = found or readers[version](file, max_header_size=LONGEST_HEADER)
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


def _plain_header(
    file: io.BytesIO, version: tuple[int, int]
) -> tuple[tuple[int, ...], bool, np.dtype[Any]] | None:
    """Shape, Fortran order and type; None, with nothing read, for a header left to numpy."""
    start, length = file.tell(), LENGTHS.get(version, "")
    size = file.read(struct.calcsize(length))
    if length and len(size) == struct.calcsize(length):
        header = PLAIN_HEADER.fullmatch(file.read(*struct.unpack(length, size)))
        if header is not None:
            shape = tuple(int(side) for side in header[3].split(b",") if side)
            return shape, header[2] == b"True", np.dtype(header[1].decode())
    file.seek(start)
    return None


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file on the CPU, memory-mapped; `InputError` if it cannot be read."""
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(path, f"unreadable ({error})", "a complete safetensors file") from error


def check_tensors(
    source: Path, found: Mapping[str, Tensor], wanted: Mapping[str, Tensor], network: str
) -> None:
    """Raise `InputError` unless `found` has exactly the `wanted` floating-point tensors."""
    sizes = {name: list(tensor.shape) for name, tensor in found.items()}
    needed = {name: list(tensor.shape) for name, tensor in wanted.items()}
    problems = {
        "missing": [f"{name} {size}" for name, size in needed.items() if name not in sizes],
        "unexpected": [f"{name} {size}" for name, size in sizes.items() if name not in needed],
        "of another shape": [
            f"{name} {sizes[name]} instead of {size}"
            for name, size in needed.items()
            if sizes.get(name, size) != size
        ],
        "not floating-point": [
            f"{name} {tensor.dtype}"
            for name, tensor in found.items()
            if not tensor.is_floating_point()
        ],
    }
    texts = [f"{len(names)} {what}: {listed(names)}" for what, names in problems.items() if names]
    if texts:
        expected = f"exactly the {len(wanted)} tensors of {network}"
        raise InputError(source, "; ".join(texts), expected)
