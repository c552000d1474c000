"""Files that are missing, damaged, or a Git LFS pointer in place of the content."""

import pickle
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

from ..runtime import InputError

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
