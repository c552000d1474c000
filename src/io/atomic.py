"""Atomic file writes: a temporary name in the same folder, then one rename.

A temporary is called `.<stem>~<host>~<process>~<random><suffix>`: hidden, so that no reader takes
it for a result, with the suffix of the result, because many writers choose the format by it.
"""

import errno
import os
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..runtime import InputError

EXPECTED = "a place that can be written, with room on its disk"
# File names end at 255 bytes on common file systems; this leaves room for the other parts.
MAX_STEM_BYTES = 120


class UnwritableError(InputError, OSError):
    """A file that the file system refuses: no room, no permission, a name too long, a folder."""

    def __init__(self, path: Path, error: OSError) -> None:
        reason = error.strerror or str(error)
        super().__init__(path, f"no file ({reason})", EXPECTED)
        self.path, self.reason, self.errno = path, reason, error.errno

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, OSError(self.errno, self.reason))


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path to write, renamed to `path` when the block ends without an exception.

    Missing parent folders are made. The content is on the disk before the rename, so even after a
    power cut `path` holds the old file or the whole new one. When the block fails, or is
    interrupted, the temporary is removed and `path` stays as it was. What a killed process left
    behind for the same `path` on this host is removed at the next write. The permissions are those
    of any new file, whatever the block's writer gives.

    Raises:
        UnwritableError: the file system refuses; every `OSError` of the block counts as that.
    """
    path = Path(path)
    try:
        with _temporary(path) as temporary:
            yield temporary
    except UnwritableError:
        raise
    except OSError as error:
        raise UnwritableError(path, error) from error


def remove(path: Path) -> None:
    """Remove a file if it is there; `UnwritableError` where the file system refuses."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UnwritableError(path, error) from error


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    _remove_orphans(path)
    unique = f"{_prefix(path)}{os.getpid()}~{secrets.token_hex(4)}"
    temporary = path.with_name(unique + path.suffix)
    mode = _mode_of_new_files(temporary)
    try:
        yield temporary
        if not temporary.is_file():
            # By nobody, or the folder was removed meanwhile.
            raise FileNotFoundError(errno.ENOENT, "what was written is gone")
        if stat.S_IMODE(temporary.stat().st_mode) != mode:
            temporary.chmod(mode)
        _flush(temporary, os.O_RDWR)
        temporary.replace(path)
        # The rename itself is a change of the folder.
        _flush(path.parent, os.O_RDONLY)
    finally:
        temporary.unlink(missing_ok=True)


def _mode_of_new_files(path: Path) -> int:
    """The permissions that the umask gives; reading it would change it for other threads."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        path.unlink()


def is_temporary(path: Path) -> bool:
    """Whether `path` has the name of an unfinished write."""
    return path.name.startswith(".") and path.name.count("~") >= 3


def _prefix(path: Path) -> str:
    stem = path.stem.encode()[:MAX_STEM_BYTES].decode(errors="ignore")
    return f".{stem}~{socket.gethostname()}~"


def _remove_orphans(path: Path) -> None:
    prefix = _prefix(path)
    for entry in path.parent.iterdir():
        if entry.name.startswith(prefix) and entry.suffix == path.suffix:
            process = entry.name[len(prefix) :].split("~")[0]
            if process.isdecimal() and not _runs(int(process)):
                entry.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _flush(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
