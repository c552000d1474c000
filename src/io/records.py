"""Records of a result's origin: SHA-256 digests of inputs and weights, the settings that matter.

Digests of large files are stored beside the files; a stored digest counts only while size, inode
and both times of the file are unchanged. A record is a nested dictionary of JSON values. A finished
result with the record of the present run is kept; one with another record is refused, never mixed
with new results.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..runtime import InputError
from .json_object import read_json_object, write_json

# A smaller file is read again each time, within a tenth of a second.
LARGE_BYTES = 2**28
MEMORY = ".digests.json"
# Suffixes of weights, and of their configurations.
WEIGHTS = {".safetensors", ".pt", ".pth", ".bin", ".jit", ".json"}
# Characters of a value that a message shows.
SHOWN = 60


def content_digest(path: Path) -> str:
    """The digest of a file, or of the names and contents of all visible files in a folder."""
    with _named(path):
        return _folder_digest(_visible_files(path)) if path.is_dir() else _stored_digest(path)


def weights_digest(path: Path) -> str:
    """The digest of a file of weights, or of weights and configurations directly in a folder."""
    with _named(path):
        if not path.is_dir():
            return _stored_digest(path)
        files = [file for file in path.iterdir() if file.is_file() and file.suffix in WEIGHTS]
        return _folder_digest([(file.name, file) for file in files if file.name != MEMORY])


def file_digest(path: Path) -> str:
    """The digest of a file, read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn errors of the file system into input errors."""
    try:
        yield
    except OSError as error:
        raise InputError(path, f"unreadable ({error})", "a file or folder to read") from error


def _folder_digest(files: list[tuple[str, Path]]) -> str:
    digest = hashlib.sha256()
    for name, file in sorted(files):
        digest.update(f"{name}\0{_stored_digest(file)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _visible_files(folder: Path) -> list[tuple[str, Path]]:
    """Relative names and paths of all files below a folder that are not hidden."""
    found = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            found.append((name.as_posix(), path))
    return found


def _stored_digest(path: Path) -> str:
    """The digest of one file, stored if the file is large."""
    # A file in a tar part has no state of its own.
    size = path.stat().st_size if type(path) is type(Path()) else 0
    if size < LARGE_BYTES:
        return file_digest(path)
    state, memory = _state(path), path.parent / MEMORY
    stored = {}
    # A damaged memory costs only time.
    with suppress(InputError):
        stored = read_json_object(memory)
    entry = stored.get(path.name)
    if isinstance(entry, dict) and entry.get("state") == state:
        return str(entry["sha256"])
    digest = file_digest(path)
    if _state(path) == state:
        # In a read-only folder the digest is computed again next time.
        with suppress(OSError):
            write_json(memory, stored | {path.name: {"state": state, "sha256": digest}})
    return digest


def _state(path: Path) -> list[int]:
    """Numbers that change when the file is written or replaced."""
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def plain(record: Mapping[str, object]) -> dict[str, Any]:
    """The record as JSON returns it: tuples become lists, keys become texts."""
    return json.loads(json.dumps(dict(record)))


def check_made_from(
    source: object, stored: Mapping[str, Any], wanted: Mapping[str, object], way_out: str
) -> None:
    """Raise `InputError` if a finished result's record differs from the `wanted` one.

    It names the file `source`, the first difference and the number of the others. `way_out` is
    advice for the user, such as the flag that overwrites.
    """
    old, new = _flat(stored), _flat(plain(wanted))
    names = [name for name in {**new, **old} if old.get(name) != new.get(name)]
    if not names:
        return
    first, more = names[0], len(names) - 1
    others = f" (and {more} other differences)" if more else ""
    value = f"{first} = {_shown(old, first)} of an earlier run{others}"
    raise InputError(source, value, f"{_shown(new, first)}; {way_out}")


def _flat(record: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Values by their path, such as `settings.height`."""
    flat: dict[str, Any] = {}
    for name, value in record.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _shown(flat: Mapping[str, Any], name: str) -> str:
    if name not in flat:
        return "nothing"
    text = repr(flat[name])
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."
