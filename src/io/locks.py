"""Locks on files: one process at a time does something, and the second one is told who does it.

The operating system releases the lock of a process that dies, so a lock file that is left behind
blocks nobody. They are POSIX record locks: NFS passes them on to other hosts, and child processes
do not inherit them, so that a worker which outlives its parent for some seconds holds nothing.
Threads of one process do not keep each other out.
"""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..runtime import InputError, get_logger

LOGGER = get_logger(__name__)
# What file systems without locks answer.
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)


@contextmanager
def process_lock(path: Path, expected: str) -> Iterator[None]:
    """Hold the lock file `path` for as long as the block runs; it is removed afterwards.

    Args:
        path: the lock file, made where it is missing; its folder is named in errors.
        expected: what the user should do if another process holds it.

    Raises:
        InputError: another process holds it, and is named; the folder cannot be written; the
            path is a link, which could lead to any file.
    """
    try:
        descriptor = _acquire(path, expected)
    except OSError as error:
        linked = error.errno == errno.ELOOP
        value = f"{path.name} is a link" if linked else f"no access ({error.strerror})"
        wanted = "no links" if linked else "a folder that can be written, with room on its disk"
        raise InputError(path.parent, value, wanted) from error
    try:
        yield
    finally:
        # Removed while it is locked: whoever opened it meanwhile sees that it is gone.
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _acquire(path: Path, expected: str) -> int:
    """A descriptor of the locked file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(descriptor, 200).decode(errors="replace") or "another process"
            if error.errno in (errno.EACCES, errno.EAGAIN):
                os.close(descriptor)
                raise InputError(path.parent, f"in use by {holder}", expected) from error
            if error.errno not in UNSUPPORTED:
                os.close(descriptor)
                raise
            LOGGER.warning("%s: this file system has no locks; start one run here", path.parent)
        if _is_same(descriptor, path):
            break
        os.close(descriptor)
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    except OSError:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        raise
    return descriptor


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether the open file is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
