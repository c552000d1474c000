"""Digests of files and folders follow the content, and are remembered for large files alone."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from src.io import records as digest
from src.io.records import MEMORY, content_digest, weights_digest
from src.runtime import InputError


def test_a_file_has_the_digest_of_its_content(tmp_path: Path) -> None:
    """A digest of the name or the time, or of a first part alone."""
    path = tmp_path / "a"
    path.write_bytes(bytes(range(256)) * 9000)
    assert content_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    copy = tmp_path / "b"
    copy.write_bytes(path.read_bytes())
    os.utime(copy, (1, 1))
    assert content_digest(copy) == content_digest(path)


def test_a_folder_has_the_digest_of_names_and_contents(tmp_path: Path) -> None:
    """Two folders that differ in one name or one byte and pass for equal."""
    for folder in ("one", "two"):
        (tmp_path / folder / "sub").mkdir(parents=True)
        (tmp_path / folder / "sub/a").write_bytes(b"a")
        (tmp_path / folder / "b").write_bytes(b"b")
    one, two = tmp_path / "one", tmp_path / "two"
    first = content_digest(one)
    assert content_digest(two) == first
    (two / ".hidden").write_bytes(b"x")
    assert content_digest(two) == first
    (two / "b").rename(two / "c")
    assert content_digest(two) != first
    (two / "c").rename(two / "b")
    (two / "sub/a").write_bytes(b"A")
    assert content_digest(two) != first


def test_large_files_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """14 GB that are read at each start; a remembered digest of another content."""
    monkeypatch.setattr(digest, "LARGE_BYTES", 4)
    path = tmp_path / "weights"
    path.write_bytes(b"first")
    before = content_digest(path)
    remembered = json.loads((tmp_path / MEMORY).read_text())
    assert remembered["weights"]["sha256"] == before == hashlib.sha256(b"first").hexdigest()
    times = path.stat().st_atime_ns, path.stat().st_mtime_ns
    path.write_bytes(b"other")
    # Even with the times of the earlier file.
    os.utime(path, ns=times)
    assert content_digest(path) == hashlib.sha256(b"other").hexdigest()
    remembered["weights"] |= {"state": digest._state(path), "sha256": "remembered"}
    (tmp_path / MEMORY).write_text(json.dumps(remembered))
    assert content_digest(path) == "remembered"
    (tmp_path / MEMORY).write_text("{damaged")
    assert content_digest(path) == hashlib.sha256(b"other").hexdigest()


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    """A traceback for a file that is not there."""
    with pytest.raises(InputError, match="nothing"):
        content_digest(tmp_path / "nothing")


def test_weights_are_what_lies_in_the_folder_itself(tmp_path: Path) -> None:
    """A note beside the weights, or another network below them, that passes for a change."""
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    first = weights_digest(tmp_path)
    (tmp_path / "README.md").write_text("note")
    (tmp_path / MEMORY).write_text("{}")
    (tmp_path / "t5").mkdir()
    (tmp_path / "t5/model.bin").write_bytes(b"other")
    assert weights_digest(tmp_path) == first
    (tmp_path / "config.json").write_text("{}")
    assert weights_digest(tmp_path) != first
