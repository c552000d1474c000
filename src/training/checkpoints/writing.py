"""Errors of the disk as input errors: a full disk, a read-only folder, a name too long."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from ...runtime import InputError

WRITABLE = "a folder that can be written, with room on its disk"


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn errors of the operating system and of safetensors in the block into `InputError`.

    It names the file of the error, or else `path`.
    """
    try:
        yield
    except OSError as error:
        where, said = error.filename or path, error.strerror or error
        raise InputError(where, f"a file that cannot be written ({said})", WRITABLE) from error
    except SafetensorError as error:
        raise InputError(path, f"a file that cannot be written ({error})", WRITABLE) from error
