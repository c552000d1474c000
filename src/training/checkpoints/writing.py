"""Errors of the disk as input errors: a full disk, a read-only folder, a name too long.

Also the target folders of exports, which delete only files that an export wrote.
"""

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
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


def check_apart(source: Path, target: Path) -> None:
    """Raises `InputError` if one of two folders is the other or lies inside it."""
    ours, theirs = target.resolve(), source.resolve()
    if ours == theirs:
        raise InputError(target, "the source itself as the target", "another folder")
    if ours in theirs.parents:
        raise InputError(target, f"a target that holds its source {source}", "another folder")
    if theirs in ours.parents:
        raise InputError(target, f"a target inside its source {source}", "another folder")


def check_replaceable(target: Path, names: Collection[str], record: Path) -> None:
    """Check that a target is missing, empty, or the result of an earlier export.

    An export writes files of these `names`, and `record` marks its folder. Raises `InputError` if
    the target is not a folder, or holds anything else.
    """
    with writing(target):
        if not target.exists() and not target.is_symlink():
            return
        if not target.is_dir():
            raise InputError(target, "a file", "a folder, or a name that is free")
        found = sorted(target.iterdir())
    if not found:
        return
    expected = "an empty folder, or what this command wrote there before; remove it yourself"
    if not record.is_file():
        raise InputError(target, f"a folder with {found[0].name}, without {record.name}", expected)
    for path in found:
        if path.name not in names or path.is_symlink() or not path.is_file():
            raise InputError(target, f"a folder that also holds {path.name}", expected)


@contextmanager
def replaced_folder(target: Path, names: Collection[str]) -> Iterator[Path]:
    """Yields a folder for the files `names`, which replaces the target when the block ends.

    `check_replaceable` has checked the target. Only files of these names are deleted, in the target
    and in the leftovers of a killed export. Raises `InputError` if the folder cannot be written, or
    others put files into it meanwhile.
    """
    target = target.resolve()
    partial, replaced = (target.with_name(f".{target.name}.{word}") for word in ("new", "old"))
    with writing(target):
        for leftover in (partial, replaced):
            _remove(leftover, names)
        partial.mkdir(parents=True)
        with ExitStack() as failed:
            failed.callback(_remove, partial, names)
            yield partial
            failed.pop_all()
        if target.exists():
            target.rename(replaced)
        partial.rename(target)
        _remove(replaced, names)


def _remove(folder: Path, names: Collection[str]) -> None:
    """Delete a folder with these files; fails if it has others, which stay."""
    if not folder.is_dir():
        return
    for name in names:
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()
