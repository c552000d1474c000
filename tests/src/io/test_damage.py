"""Pointers of Git LFS are named as such, whatever reads them."""

from pathlib import Path

import pytest

from src.checkpoints.kinds import why_unreadable
from src.io.damage import lfs_pointer
from src.io.image import read_image
from src.io.video.video import video_info
from src.runtime import InputError

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n"


def test_pointers_are_named(tmp_path: Path) -> None:
    """A picture, a video or weights of a checkout without Git LFS that pass for damaged ones."""
    for name, read in (("a.jpg", read_image), ("a.mp4", video_info)):
        path = tmp_path / name
        path.write_text(POINTER)
        with pytest.raises(InputError, match="git lfs pull"):
            read(path)
    assert "git lfs pull" in (why_unreadable(tmp_path / "a.jpg") or "")
    other = tmp_path / "short"
    other.write_text("version")
    assert lfs_pointer(other) is None
