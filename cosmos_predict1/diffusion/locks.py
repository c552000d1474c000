"""One process at a time writes a clip: a locked hidden file beside the clip's metadata.

The operating system releases the lock of a process that dies, so a killed run blocks nothing.
"""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from src.io.clip import ClipPaths
from src.runtime import InputError, get_logger

LOGGER = get_logger(__name__)
# What file systems without locks answer.
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


class HeldError(InputError):
    """Another process writes the clip."""


@contextmanager
def clip_lock(paths: ClipPaths, wait: bool = False) -> Iterator[None]:
    """Hold the clip for as long as the block runs; `wait` for another process, or give up.

    Raises:
        HeldError: another process holds it, and is named.
        InputError: the folder cannot be written.
    """
    path = paths.meta.with_name(f".{paths.key}.lock")
    try:
        descriptor = _acquire(path, wait)
    except OSError as error:
        expected = "a folder that can be written, with room on its disk"
        raise InputError(paths.root, f"no access ({error})", expected) from error
    try:
        yield
    finally:
        # Removed while it is locked: whoever opened it meanwhile sees that it is gone.
        path.unlink(missing_ok=True)
        os.close(descriptor)


@contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold a file of this name, made where it is missing; waits for another process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            _accept(error, path)
        yield
    finally:
        os.close(descriptor)


def _acquire(path: Path, wait: bool) -> int:
    """A descriptor of the locked file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    while True:
        # A link in the lock's place may point to any file of the user's, and is not followed.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(descriptor, mode)
        except BlockingIOError as error:
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            os.close(descriptor)
            expected = "one run at a time for each clip; wait for it, or choose another folder"
            raise HeldError(path.parent.parent, f"being written by {holder}", expected) from error
        except OSError as error:
            _accept(error, path)
        if _is_same(descriptor, path):
            break
        os.close(descriptor)
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    return descriptor


def _accept(error: OSError, path: Path) -> None:
    """Go on without a lock where the file system has none, and say so."""
    if error.errno not in UNSUPPORTED:
        raise error
    LOGGER.warning("%s: this file system has no locks; start one run at a time", path.parent)


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
