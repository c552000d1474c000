"""Atomic file writes: a temporary name in the same folder, then one rename.

A temporary is called `.<stem>~<place>~<process>~<random><suffix>`: hidden, so that no reader takes
it for a result; with the suffix of the result, because many writers choose the format by it. The
place is the machine since its start and the container, within which a process has its number.
"""

import errno
import hashlib
import os
import re
import secrets
import socket
import stat
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache, lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from ..runtime import InputError

W = TypeVar("W", bound="BlockWriter")
EXPECTED = "a place that can be written, with room on its disk"
# File names end at 255 bytes on common file systems; this leaves room for the other parts.
MAX_STEM_BYTES = 120
# Names of the temporaries that this process is writing.
_OWN: set[str] = set()
TEMPORARY = re.compile(r"\..*~([^~]+)~(\d+)~[0-9a-f]{8}(\.[^~]*)?")
# No write takes so long. Temporaries of other machines and containers are told by age alone.
ABANDONED_SECONDS = 24 * 3600


class UnwritableError(InputError, OSError):
    """A file that the file system refuses: no room, no permission, a name too long, a folder."""

    def __init__(self, path: Path, error: OSError) -> None:
        reason = error.strerror or str(error)
        super().__init__(path, f"no file ({reason})", EXPECTED)
        self.path, self.reason, self.errno = path, reason, error.errno

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.path, OSError(self.errno, self.reason))


class BlockWriter(ABC):
    """A writer that is used in a `with` block; `_block` says how the block begins and ends."""

    @abstractmethod
    def _block(self) -> AbstractContextManager[None]:
        """A context manager around the block, written with `@contextmanager`."""

    def __enter__(self: W) -> W:
        self._entered = self._block()
        self._entered.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return self._entered.__exit__(kind, error, traceback)


@contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """A temporary path to write, renamed to `path` when the block ends without an exception.

    Missing parent folders are made. The content is on the disk before the rename, so that even
    after a power cut `path` is the old file or the whole new one. When the block fails or is
    interrupted, the temporary is removed and `path` stays as it was. The file gets the permissions
    of any new file. A process's first write into a folder removes the temporaries of killed
    processes: of this machine and container at once, others after a day. Every `OSError`, also of
    the block, becomes an `UnwritableError`.
    """
    path = Path(path)
    try:
        with _temporary(path) as temporary:
            yield temporary
    except UnwritableError:
        raise
    except OSError as error:
        raise UnwritableError(path, error) from error


def write_text(path: Path | str, text: str) -> None:
    """Write a text in UTF-8, atomically."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def remove(path: Path) -> None:
    """Remove a file if it exists; `UnwritableError` where the file system refuses."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UnwritableError(path, error) from error


@contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    _remove_orphans(path.parent)
    stem = path.stem.encode()[:MAX_STEM_BYTES].decode(errors="ignore")
    unique = f".{stem}~{_place()}~{os.getpid()}~{secrets.token_hex(4)}"
    temporary = path.with_name(unique + path.suffix)
    _OWN.add(temporary.name)
    try:
        mode = _mode_of_new_files(temporary)
        yield temporary
        if not temporary.is_file():
            # Never written, or removed together with its folder.
            raise FileNotFoundError(errno.ENOENT, "what was written is gone")
        if stat.S_IMODE(temporary.stat().st_mode) != mode:
            temporary.chmod(mode)
        flush(temporary, os.O_RDWR)
        temporary.replace(path)
        # The rename is a change of the folder.
        flush(path.parent)
    finally:
        temporary.unlink(missing_ok=True)
        _OWN.discard(temporary.name)


def _mode_of_new_files(path: Path) -> int:
    """The permissions that the umask gives; asking for the umask would set it, in all threads."""
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    try:
        return stat.S_IMODE(os.fstat(descriptor).st_mode)
    finally:
        os.close(descriptor)
        path.unlink()


def is_temporary(path: Path) -> bool:
    """Whether `path` has the name of an unfinished write."""
    return TEMPORARY.fullmatch(path.name) is not None


@cache
def _place() -> str:
    """A word for this machine since its start and this container."""
    # Containers may share a host name, and give one number to different processes.
    known = [socket.gethostname()]
    start, namespace = Path("/proc/sys/kernel/random/boot_id"), Path("/proc/self/ns/pid")
    if start.is_file() and namespace.exists():
        known += [start.read_text().strip(), str(namespace.stat().st_ino)]
    return hashlib.sha256("~".join(known).encode()).hexdigest()[:16]


# Once a folder: with each write, the time would grow with the square of the number of files.
@lru_cache(maxsize=1024)
def _remove_orphans(folder: Path) -> None:
    """Remove temporaries that no living process will finish, at the first call for a folder."""
    for entry in folder.iterdir():
        found = TEMPORARY.fullmatch(entry.name)
        if found is not None and _is_orphan(entry, found[1], int(found[2])):
            entry.unlink(missing_ok=True)


def _is_orphan(path: Path, place: str, process: int) -> bool:
    if place == _place():
        return path.name not in _OWN and not _runs(process)
    try:
        return time.time() - path.stat().st_mtime > ABANDONED_SECONDS
    except FileNotFoundError:
        return False


def _runs(process: int) -> bool:
    """Whether another process of this number runs."""
    # A killed process may have had our number, as in a container that was started again.
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def flush(path: Path, flags: int = os.O_RDONLY) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
