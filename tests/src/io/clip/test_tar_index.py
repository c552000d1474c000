"""The index of a tar part: all files at their places, and every kind of damage noticed."""

import io
import os
import tarfile
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest

from src.io.atomic import atomic_path
from src.io.clip import tar_index
from src.io.clip.tar_index import read_index, scan_part
from src.runtime import InputError

# Sizes around those of blocks; names longer than a header has room for.
CONTENTS = {
    "0/rgb/b.mp4": b"x" * 511,
    "0/rgb/a.mp4": b"y" * 512,
    "1/pose/" + "long" * 60 + ".npz": b"z" * 513,
    "0/meta/empty.json": b"",
    "ü/rgb/a.mp4": b"last" * 700,
}


def pack(path: Path, contents: dict[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    """A tar file with folders, as `tar cf` makes it."""
    with tarfile.open(path, "w", format=form) as archive:
        folder = tarfile.TarInfo("0")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("dot", ["", "./"])
def test_every_file_is_at_its_offset(tmp_path: Path, form: int, dot: str) -> None:
    """Offsets of headers, names cut off or of folders, an order that is not that of bytes."""
    part = pack(tmp_path / "part.tar", {dot + name: c for name, c in CONTENTS.items()}, form)
    index = read_index(part)
    content = part.read_bytes()
    assert [name.decode() for name in index.names.tolist()] == sorted(CONTENTS, key=str.encode)
    for name, offset, size in zip(*map(np.ndarray.tolist, vars(index).values()), strict=True):
        assert content[offset : offset + size] == CONTENTS[name.decode()]


def test_an_index_is_made_once_and_again_for_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts that are gone through at every start, or an index of what is no longer there."""
    part = pack(tmp_path / "part.tar", CONTENTS)
    read_index(part)
    scans = []

    def counted(path: Path) -> tar_index.TarIndex:
        scans.append(path)
        return scan_part(path)

    monkeypatch.setattr(tar_index, "scan_part", counted)
    assert len(read_index(part).names) == 5 and not scans
    pack(part, {"0/rgb/c.mp4": b"new"})
    assert read_index(part).names.tolist() == [b"0/rgb/c.mp4"] and len(scans) == 1
    # The same size at another time may be another content.
    os.utime(part, ns=(0, 0))
    read_index(part)
    assert len(scans) == 2
    stored = part.with_name("part.tar.index")
    stored.write_bytes(stored.read_bytes()[:-40])
    assert len(read_index(part).names) == 1 and len(scans) == 3


def test_parts_that_nothing_may_be_written_beside_are_cached_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Published parts on a read-only disk that are gone through at every start, or never."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    part = pack(tmp_path / "part.tar", CONTENTS)
    place = part.with_name("part.tar.index")

    def refused(where: Path) -> AbstractContextManager[Path]:
        if where == place:
            raise PermissionError(13, "read-only", str(where))
        return atomic_path(where)

    monkeypatch.setattr(tar_index, "atomic_path", refused)
    read_index(part)
    assert not place.exists()
    assert len([*(tmp_path / "cache").rglob("*.index")]) == 1
    monkeypatch.setattr(tar_index, "scan_part", None)
    assert len(read_index(part).names) == 5


def test_parts_that_were_cut_off_anywhere_are_refused(tmp_path: Path) -> None:
    """A download that broke off: files that are silently missing, or found beyond the end."""
    whole = pack(tmp_path / "whole.tar", CONTENTS).read_bytes()
    index = scan_part(tmp_path / "whole.tar")
    end = int((index.offsets + -(-index.sizes // 512) * 512).max())
    part = tmp_path / "part.tar"
    for size in (*range(512, end, 512), *(end - 1, end - 600, 700, 100), end):
        part.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"part\.tar: got .*(truncated|unreadable)") as caught:
            scan_part(part)
        assert "uncompressed tar" in str(caught.value)
    part.write_bytes(whole[: end + 512])
    assert len(scan_part(part).names) == len(CONTENTS)


def test_other_files_than_clips_have_are_refused(tmp_path: Path) -> None:
    """Names that lead elsewhere, links to other files, files of which one hides the other."""
    for name in ("../up.mp4", "/etc/rgb/a.mp4", "0/../../a.mp4", "0/./a.mp4"):
        with pytest.raises(InputError, match="below the folder"):
            scan_part(pack(tmp_path / "names.tar", {name: b"x"}))
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
        with tarfile.open(tmp_path / "links.tar", "w") as archive:
            member = tarfile.TarInfo("0/rgb/a.mp4")
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
        with pytest.raises(InputError, match="a link or special file"):
            scan_part(tmp_path / "links.tar")
    with tarfile.open(tmp_path / "twice.tar", "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("0/rgb/a.mp4"))
    with pytest.raises(InputError, match=r"'0/rgb/a.mp4' twice"):
        scan_part(tmp_path / "twice.tar")


def test_compressed_missing_and_foreign_files_are_refused(tmp_path: Path) -> None:
    """A compressed part, in which nothing can be found by offset."""
    with tarfile.open(tmp_path / "part.tar", "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("0/rgb/a.mp4"))
    with pytest.raises(InputError, match="uncompressed"):
        read_index(tmp_path / "part.tar")
    with pytest.raises(InputError, match="no such file"):
        read_index(tmp_path / "nowhere.tar")
    (tmp_path / "empty.tar").write_bytes(b"")
    with pytest.raises(InputError, match="empty.tar"):
        read_index(tmp_path / "empty.tar")
