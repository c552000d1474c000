"""SHA-256 digests of files and folders; those of large files are remembered beside the files.

A remembered digest counts only while size, inode and both times of the file are what they were.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...runtime import InputError
from ..json_object import read_json_object, write_json

# A smaller file is read again each time, which takes a tenth of a second.
LARGE_BYTES = 2**28
MEMORY = ".digests.json"
# Of files that hold weights or say how they are to be read.
WEIGHTS = {".safetensors", ".pt", ".pth", ".bin", ".jit", ".json"}


def content_digest(path: Path) -> str:
    """The digest of a file's content, or of a folder: of the names and contents of all files in it.

    Hidden files do not count.

    Raises:
        InputError: a path that is not there or cannot be read.
    """
    with _named(path):
        return _folder_digest(_visible_files(path)) if path.is_dir() else _file_digest(path)


def weights_digest(path: Path) -> str:
    """The digest of a file of weights, or of the weights and configurations right in a folder.

    Raises:
        InputError: a path that is not there or cannot be read.
    """
    with _named(path):
        if not path.is_dir():
            return _file_digest(path)
        files = [file for file in path.iterdir() if file.is_file() and file.suffix in WEIGHTS]
        return _folder_digest([(file.name, file) for file in files if file.name != MEMORY])


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into an input error."""
    try:
        yield
    except OSError as error:
        raise InputError(path, f"unreadable ({error})", "a file or folder to read") from error


def _folder_digest(files: list[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(files):
        digest.update(f"{name}\0{_file_digest(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _visible_files(folder: Path) -> list[tuple[str, Path]]:
    """Relative names and paths of all files below a folder that are not hidden."""
    found = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            found.append((name.as_posix(), path))
    return found


def _file_digest(path: Path) -> str:
    """The digest of one file, which may lie in a tar part."""
    # A file in a tar part has no state of its own.
    size = path.stat().st_size if type(path) is type(Path()) else 0
    if size < LARGE_BYTES:
        return _read_digest(path)
    state = _state(path)
    remembered = _remembered(path.parent)
    entry = remembered.get(path.name)
    if isinstance(entry, dict) and entry.get("state") == state:
        return str(entry["sha256"])
    digest = _read_digest(path)
    if _state(path) == state:
        _remember(path.parent, remembered | {path.name: {"state": state, "sha256": digest}})
    return digest


def _read_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as content:
        while piece := content.read(2**20):
            digest.update(piece)
    return digest.hexdigest()


def _state(path: Path) -> list[int]:
    """What changes when somebody writes or replaces a file."""
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _remembered(folder: Path) -> dict[str, object]:
    path = folder / MEMORY
    try:
        return read_json_object(path) if path.is_file() else {}
    except InputError:
        # Nothing but time is lost.
        return {}


def _remember(folder: Path, entries: dict[str, object]) -> None:
    try:
        write_json(folder / MEMORY, entries)
    except OSError:
        # A folder that is read-only: the digest is computed again next time.
        return
