"""Errors of the disk as one line: a full disk, a read-only folder, a name that is too long."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ...runtime import InputError

WRITABLE = "a folder that can be written, with room on its disk"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the file, or `path` where the error knows none, if the block cannot write.

    Raises:
        InputError: in the place of what the operating system or safetensors says.
    """
    try:
        yield
    except OSError as error:
        where, said = error.filename or path, error.strerror or error
        raise InputError(where, f"a file that cannot be written ({said})", WRITABLE) from error
    except SafetensorError as error:
        raise InputError(path, f"a file that cannot be written ({error})", WRITABLE) from error
