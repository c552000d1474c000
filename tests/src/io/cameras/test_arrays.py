"""Tests of what is refused in a camera file: every message names the file and what is wrong."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from src.io.cameras.file import read_camera_file
from src.runtime import InputError

POSE = np.eye(4).tolist()
FRAME = {"c2w": POSE, "intrinsics": [50, 50, 32, 24]}
SCHEMA = {"width": 64, "height": 48, "fps": 24, "frames": [FRAME, FRAME]}
ARRAYS = {"c2w": [POSE, POSE], "K": [50, 50, 32, 24], "width": 64, "height": 48}


def _changed(row: int, column: int, value: float) -> list[list[list[float]]]:
    """Two poses, the second with another value in one place."""
    poses = np.tile(np.eye(4), (2, 1, 1))
    poses[1, row, column] = value
    return poses.tolist()


def _frames(**second: Any) -> dict[str, Any]:
    """The schema with other values in its second frame; None removes a key."""
    frame = {key: value for key, value in (FRAME | second).items() if value is not None}
    return {"frames": [FRAME, frame]}


@pytest.mark.parametrize(
    ("base", "change", "message"),
    [
        (ARRAYS, {"w2c": [POSE, POSE]}, "both `c2w` and `w2c`"),
        (ARRAYS, {"c2w": None}, "either `c2w` or `w2c`"),
        (ARRAYS, {"intrinsics": [50, 50, 32, 24]}, "both `intrinsics` and `K`"),
        (ARRAYS, {"K": None}, "either `intrinsics` or `K`"),
        (ARRAYS, {"widht": 64}, r"\['widht'\].*keys among"),
        (ARRAYS, {"height": None}, "`width` and `height`"),
        (ARRAYS, {"width": 64.5}, "whole number of pixels"),
        (ARRAYS, {"width": 0}, "`width` 0.*> 0"),
        (ARRAYS, {"width": [64, 64]}, "`width`.*one number"),
        (ARRAYS, {"fps": 0}, "`fps` 0.*> 0"),
        (ARRAYS, {"fps": -24}, "`fps` -24.*> 0"),
        (ARRAYS, {"fps": "24"}, "`fps` of type.*numbers"),
        (ARRAYS, {"c2w": _changed(0, 3, float("nan"))}, r"nan at index \[1, 0, 3\]"),
        (ARRAYS, {"c2w": _changed(0, 3, 1e300)}, r"1e\+300 at index \[1, 0, 3\]"),
        (ARRAYS, {"c2w": _changed(0, 0, 0)}, "c2w: got pose 1 .*rigid, invertible"),
        (ARRAYS, {"c2w": _changed(0, 0, -1)}, "c2w: got pose 1 .*rigid, invertible"),
        (ARRAYS, {"c2w": _changed(1, 0, 0.2)}, "c2w: got pose 1 .*rigid, invertible"),
        (ARRAYS, {"c2w": _changed(3, 0, 1)}, "c2w: got pose 1 .*rigid, invertible"),
        (ARRAYS, {"c2w": []}, "at least one pose"),
        (ARRAYS, {"c2w": POSE}, r"`c2w` of shape \(4, 4\).*N x 4 x 4"),
        (ARRAYS, {"c2w": [POSE[:2]] * 2}, r"`c2w` of shape \(2, 2, 4\).*N x 4 x 4"),
        (ARRAYS, {"c2w": [POSE, POSE[:3]]}, "`c2w` of uneven length"),
        (ARRAYS, {"c2w": [[["a"] * 4] * 4] * 2}, "`c2w` of type <U1"),
        (ARRAYS, {"c2w": [POSE, None]}, "`c2w` of (type object|uneven length)"),
        (ARRAYS, {"K": [0, 50, 32, 24]}, "positive focal lengths"),
        (ARRAYS, {"K": [[50, 50, 32, 24], [50, -5, 32, 24]]}, "positive focal lengths"),
        (ARRAYS, {"K": [[50, 50, 32, 24]] * 3}, r"shape \(3, 4\).*2 poses"),
        (ARRAYS, {"K": [50, 32, 24]}, r"shape \(2, 3\).*2 poses"),
        (ARRAYS, {"K": [[50, 3, 32], [0, 50, 24], [0, 0, 1]]}, "skew"),
        (ARRAYS, {"K": [[50, 0, 32], [0, 50, 24], [0, 0, 2]]}, "last row other than 0 0 1"),
        (ARRAYS, {"times": [0, 1, 2]}, r"`times` of shape \(3,\).*2 poses"),
        (ARRAYS, {"times": [1, 0]}, "never decrease"),
        (SCHEMA, {"fps": True}, "`fps` of type bool"),
        (SCHEMA, {"frames": []}, "at least one pose"),
        (SCHEMA, {"frames": {"c2w": POSE}}, "`frames`.*list of objects"),
        (SCHEMA, {"c2w": [POSE]}, r"\['c2w'\].*keys among"),
        (SCHEMA, _frames(w2c=POSE), r"frame 1 with \['w2c'\]"),
        (SCHEMA, _frames(intrinsics=None), r"frame 1 without \['intrinsics'\]"),
        (SCHEMA, _frames(time=1.0), r"frame 0 without \['time'\]"),
        (SCHEMA, _frames(c2w=[1, 2]), "`c2w` of uneven length"),
        (SCHEMA, _frames(intrinsics=[50, 50, 32]), "`intrinsics` of uneven length"),
    ],
)
def test_wrong_values_are_refused(
    tmp_path: Path, base: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    """Catches each wrong value that would travel on as a wrong camera."""
    values = {key: value for key, value in (base | change).items() if value is not None}
    path = tmp_path / "cameras.json"
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match=f"cameras.json.*{message}"):
        read_camera_file(path)


@pytest.mark.parametrize("base", [ARRAYS, SCHEMA])
def test_the_unchanged_values_are_fine(tmp_path: Path, base: dict[str, Any]) -> None:
    """Catches an error test that fails for another reason than its change."""
    (tmp_path / "cameras.json").write_text(json.dumps(base))
    assert len(read_camera_file(tmp_path / "cameras.json").cameras) == 2


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"width": 64,\n"height": }', "malformed JSON in line 2"),
        (b"", "malformed JSON in line 1"),
        (b"[1, 2]", "list.*a JSON object"),
        (b'{"width": "\xff\xfe"}', "JSON object in UTF-8"),
    ],
)
def test_malformed_json_names_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    """Catches a bare decoder error, which names neither the file nor the line."""
    path = tmp_path / "cameras.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"cameras.json.*{message}"):
        read_camera_file(path)


def test_missing_and_foreign_files(tmp_path: Path) -> None:
    """Catches a bare FileNotFoundError, folders, and formats that nobody reads."""
    with pytest.raises(InputError, match=r"none\.json.*no such file"):
        read_camera_file(tmp_path / "none.json")
    with pytest.raises(InputError, match="a folder without cameras"):
        read_camera_file(tmp_path)
    (tmp_path / "a.txt").write_text("1 2 3")
    with pytest.raises(InputError, match=r"a\.txt.*\.json or \.npz"):
        read_camera_file(tmp_path / "a.txt")


def test_broken_archives(tmp_path: Path) -> None:
    """Catches truncated files, damaged ones, and a plain array under the name of an archive."""
    path = tmp_path / "a.npz"
    np.savez(path, **{key: np.asarray(value) for key, value in ARRAYS.items()})
    whole = path.read_bytes()
    for keep in (0, 10, len(whole) // 2, len(whole) - 5):
        path.write_bytes(whole[:keep])
        with pytest.raises(InputError, match=r"a\.npz.*npz archive"):
            read_camera_file(path)
    damaged = bytearray(whole)
    place = whole.index(np.eye(4).tobytes())
    damaged[place : place + 8] = b"\0\0\0\0\0\0\1\1"
    path.write_bytes(bytes(damaged))
    with pytest.raises(InputError, match=r"a\.npz.*unreadable"):
        read_camera_file(path)
    with path.open("wb") as file:
        np.save(file, np.eye(4))
    with pytest.raises(InputError, match=r"a\.npz.*npz archive"):
        read_camera_file(path)


def test_pickled_arrays_are_refused_unread(tmp_path: Path) -> None:
    """Catches a loader that executes what a file contains."""
    witness = tmp_path / "executed"

    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (witness,))

    path = tmp_path / "a.npz"
    np.savez(path, c2w=np.array([Hostile()], dtype=object), K=np.array([50, 50, 32, 24]))
    with pytest.raises(InputError, match="without pickled arrays"):
        read_camera_file(path)
    assert not witness.exists()
