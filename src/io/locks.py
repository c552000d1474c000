"""Locks on files: one process at a time does something, and a second one learns who does it.

The operating system releases the lock of a process that dies, so a left-over lock file blocks
nobody. These are POSIX record locks: NFS passes them on to other hosts, and child processes do not
inherit them, so that a worker that outlives its parent for some seconds holds nothing. They belong
to a process as a whole; a set of held names keeps its threads apart.
"""

import errno
import fcntl
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ..runtime import InputError, get_logger
from .clip.clip import ClipPaths

LOGGER = get_logger(__name__)
# Errors of file systems without locks.
UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)
# The lock files of this process: closing a second descriptor of one would release it.
_HELD: set[str] = set()
_CHANGED = threading.Condition()
# A child holds nothing.
os.register_at_fork(after_in_child=_HELD.clear)


class HeldError(InputError):
    """Another process holds the lock."""


class _Busy(Exception):
    """The lock is held; the message names the holder."""


@contextmanager
def process_lock(path: Path, expected: str, wait: bool = False) -> Iterator[None]:
    """Hold the lock file `path` while the block runs; it is removed afterwards.

    Without `wait`, a lock that another process or thread holds raises `HeldError` with the holder;
    `expected` is its advice for the user. Raises `InputError` for a folder that cannot be written,
    and for a link, which could lead to any file.
    """
    with ExitStack() as held:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            held.enter_context(_thread_lock(path, wait))
            held.enter_context(_file_lock(path, wait))
        except _Busy as holder:
            raise HeldError(path.parent, f"in use by {holder}", expected) from None
        except OSError as error:
            linked = error.errno == errno.ELOOP
            value = f"{path.name} is a link" if linked else f"no access ({error.strerror})"
            wanted = "no links" if linked else "a folder that can be written, with room on its disk"
            raise InputError(path.parent, value, wanted) from error
        yield


@contextmanager
def clip_lock(paths: ClipPaths, wait: bool = False) -> Iterator[None]:
    """Hold a clip, by a hidden file beside its metadata; see `process_lock`."""
    expected = "one run at a time for each clip; wait for it, or choose another folder"
    with process_lock(_of_clip(paths), expected, wait):
        yield


def remove_stale_clip_lock(paths: ClipPaths) -> None:
    """Remove the left-over lock of a finished clip, if there is one."""
    if _of_clip(paths).exists():
        # A held lock goes with its holder; one that cannot be removed blocks no reader.
        with suppress(InputError), clip_lock(paths):
            pass


def _of_clip(paths: ClipPaths) -> Path:
    return paths.meta.with_name(f".{paths.key}.lock")


@contextmanager
def _thread_lock(path: Path, wait: bool) -> Iterator[None]:
    """Keep other threads of this process out."""
    name = str(path.parent.resolve() / path.name)
    with _CHANGED:
        while name in _HELD:
            if not wait:
                raise _Busy(_this_process())
            _CHANGED.wait()
        _HELD.add(name)
    try:
        yield
    finally:
        with _CHANGED:
            _HELD.remove(name)
            _CHANGED.notify_all()


@contextmanager
def _file_lock(path: Path, wait: bool) -> Iterator[None]:
    """Keep other processes out."""
    while True:
        # A link in place of the lock is not followed: it may point to any file of the user's.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            _lock(descriptor, path, wait)
            if not _is_same(descriptor, path):
                continue
            try:
                os.ftruncate(descriptor, 0)
                os.write(descriptor, _this_process().encode())
                yield
            finally:
                # Removed while locked: a process that opened it meanwhile sees that it is gone.
                if _is_same(descriptor, path):
                    path.unlink(missing_ok=True)
            return
        finally:
            os.close(descriptor)


def _lock(descriptor: int, path: Path, wait: bool) -> None:
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            holder = os.read(descriptor, 200).decode(errors="replace")
            raise _Busy(holder or "another process") from error
        if error.errno not in UNSUPPORTED:
            raise
        LOGGER.warning("%s: this file system has no locks; start one run here", path.parent)


def _is_same(descriptor: int, path: Path) -> bool:
    """Whether the open file still has this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _this_process() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"
