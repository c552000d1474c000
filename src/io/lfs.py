"""Pointers of Git LFS: text files in the place of large ones that a checkout did not fetch."""

from pathlib import Path

START = b"version https://git-lfs"


def lfs_pointer(path: Path) -> str | None:
    """Words for a file that is such a pointer; None for any other file."""
    with path.open("rb") as file:
        if file.read(len(START)) != START:
            return None
    size = path.stat().st_size
    return f"a git-lfs pointer of {size} bytes in place of the file (`git lfs pull` gets it)"
