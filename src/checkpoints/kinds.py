"""Recognises other files in place of weights: unfinished downloads, web pages, cut files."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ..io.damage import lfs_pointer
from ..runtime import InputError

# Suffixes of unfinished downloads.
PARTIAL = (".incomplete", ".part", ".partial", ".aria2", ".crdownload", ".tmp")
PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<head")
SAMPLE = 512


def check_weights_file(path: Path, expected: str) -> None:
    """Raise `InputError` for a file that cannot hold weights, see `why_unreadable`."""
    if problem := why_unreadable(path):
        raise InputError(path, problem, expected)


def why_unreadable(path: Path) -> str | None:
    """Describes what lies there instead of weights; None for a file that may hold some."""
    if not path.exists():
        return "no such file"
    if path.is_dir():
        return "a folder"
    if path.suffix in PARTIAL:
        return "a download that has not ended"
    head = _head(path)
    size = path.stat().st_size
    if not head:
        return "an empty file (0 bytes), as a failed download leaves it"
    if pointer := lfs_pointer(path):
        return pointer
    if head.lstrip().lower().startswith(PAGES):
        return f"a web page of {size} bytes, saved in place of the file"
    if not any(head):
        return "zeros, as a download leaves them that was cut off"
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):
        return f"a torch archive that is cut off after {size} bytes"
    return _cut_safetensors(path, head) or _text(head)


def is_safetensors(path: Path) -> bool:
    """Whether a file begins as safetensors."""
    return _header_length(_head(path)) is not None


def unfinished(folder: Path) -> Iterator[Path]:
    """Unfinished downloads below a folder, in the hub's own folder, too."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in PARTIAL and path.is_file():
            yield path


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SAMPLE)


def _header_length(head: bytes) -> int | None:
    """Bytes of the header of a safetensors file, which opens with a JSON object."""
    return int.from_bytes(head[:8], "little") if head[8:9] == b"{" else None


def _cut_safetensors(path: Path, head: bytes) -> str | None:
    length, size = _header_length(head), path.stat().st_size
    if length is None:
        return None
    if 8 + length > size:
        return f"a safetensors file that is cut off after {size} bytes, within its header"
    with path.open("rb") as file:
        file.seek(8)
        try:
            header = json.loads(file.read(length))
            ends = [part["data_offsets"][1] for name, part in header.items() if name[:2] != "__"]
            whole = 8 + length + max(ends, default=0)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None
    cut = f"a safetensors file of {whole} bytes that is cut off after {size}"
    return cut if whole > size else None


def _text(head: bytes) -> str | None:
    """The beginning of a text; no format of weights is text."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not text.replace("\n", "").replace("\r", "").isprintable():
        return None
    return f"a text ({text.strip().splitlines()[0][:60]!r}) in place of the file"
