"""What a file is, told from its first bytes, its name and its length."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

from ..io.damage import lfs_pointer

# Names of downloads that have not ended.
PARTIAL = (".incomplete", ".part", ".partial", ".aria2", ".crdownload", ".tmp")
SAFETENSORS, ARCHIVE, TORCHSCRIPT, OLD = "safetensors", "torch archive", "TorchScript", "old torch"
# How a file of torch before 1.6 begins.
MAGIC = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19"
PAGES = (b"<!doctype html", b"<html", b"<?xml", b"<head")
SAMPLE = 512


def kind_of(path: Path) -> str | None:
    """The format of a file of weights; None for a file of none of the four formats."""
    head = _head(path)
    if zipfile.is_zipfile(path):
        return TORCHSCRIPT if _has_code(path) else ARCHIVE
    if head[:1] == b"\x80" and MAGIC in head[:32]:
        return OLD
    return SAFETENSORS if _header_length(head) is not None else None


def why_unreadable(path: Path) -> str | None:
    """What lies there instead of weights, in a few words; None for a file that may hold some."""
    if not path.exists():
        return "no such file"
    if path.is_dir():
        return "a folder"
    if path.suffix in PARTIAL:
        return "a download that has not ended"
    head = _head(path)
    size = path.stat().st_size
    if not head:
        return "an empty file (0 bytes), as a download leaves it that failed"
    if pointer := lfs_pointer(path):
        return pointer
    if head.lstrip().lower().startswith(PAGES):
        return f"a web page of {size} bytes, saved in place of the file"
    if not any(head):
        return "zeros, as a download leaves them that was cut off"
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):
        return f"a torch archive that is cut off after {size} bytes"
    return _cut_safetensors(path, head) or _text(head)


def unfinished(folder: Path) -> Iterator[Path]:
    """Downloads below a folder that have not ended, those in the hub's own folder too."""
    for path in sorted(folder.rglob("*")):
        if path.suffix in PARTIAL and path.is_file():
            yield path


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(SAMPLE)


def _has_code(path: Path) -> bool:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    top = names[0].split("/")[0] if names else ""
    return any(name.startswith(f"{top}/code/") for name in names)


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
    """The beginning of a text, which no format of weights is."""
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if not text.isprintable() and not text.replace("\n", "").replace("\r", "").isprintable():
        return None
    return f"a text ({text.strip().splitlines()[0][:60]!r}) in place of the file"
