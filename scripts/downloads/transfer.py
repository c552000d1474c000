"""Downloads one file from a URL and resumes earlier attempts, even of a killed process.

The hub's client removes its part when it stops, so that 45 GB would start anew. Here the part lies
beside the file as `.<name>.<version>.part`, and the client's transfer continues it.
"""

import fcntl
import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

from src.runtime import InputError

LOG = logging.getLogger("download_checkpoints")
# Seconds to wait after an error of the server before each further attempt.
PAUSES = (1, 4, 16)


def part_path(path: Path, version: str) -> Path:
    """Returns the path of an unfinished file, another for each version."""
    return path.with_name(f".{path.name}.{version[:16]}.part")


def transfer(url: str, path: Path, *, size: int, version: str, headers: Mapping[str, str]) -> Path:
    """Fetches the missing bytes of a file of `size` bytes; returns the complete part.

    Raises:
        InputError: another process downloads the same file.
        HfHubHTTPError, HTTPError, OSError: as the hub's client; the part stays.
    """
    part = part_path(path, version)
    part.parent.mkdir(parents=True, exist_ok=True)
    for other in path.parent.glob(f".{path.name}.*.part"):
        if other != part:
            other.unlink()
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(path, "another download of it that runs", "one at a time") from error
        if file.tell() > size:
            file.truncate(0)
        for pause in PAUSES:
            if _attempt(url, file, size=size, name=path.name, headers=headers):
                return part
            time.sleep(pause)
        _attempt(url, file, size=size, name=path.name, headers=headers, last=True)
    return part


def _attempt(
    url: str,
    file: BinaryIO,
    *,
    size: int,
    name: str,
    headers: Mapping[str, str],
    last: bool = False,
) -> bool:
    """Appends the missing bytes; returns False after an error of the server that may pass."""
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get

    file.flush()
    try:
        http_get(
            url,
            file,
            resume_size=file.tell(),
            headers=dict(headers),
            expected_size=size,
            displayed_filename=name,
        )
    except HfHubHTTPError as error:
        if last or error.response.status_code < 500:
            raise
        LOG.warning("%s: the server answers %d; trying again", name, error.response.status_code)
        return False
    return True
