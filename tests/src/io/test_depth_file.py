"""Depth maps that users bring, in every format, whole and broken."""

from pathlib import Path

import numpy as np
import pytest
import torch

from src.io.depth_file import read_depth_file, write_depth_archive
from src.runtime import InputError

DEPTH = np.linspace(0.5, 4, 3 * 6 * 8).reshape(3, 6, 8).astype(np.float32)


def test_every_format_gives_the_same_depth(tmp_path: Path) -> None:
    """Catches a format that is read with swapped axes, or as integers."""
    import OpenEXR

    np.savez(tmp_path / "a.npz", depth=DEPTH)
    np.savez(tmp_path / "b.npz", depth=DEPTH[:, None].astype(np.float64))
    np.save(tmp_path / "c.NPY", DEPTH)
    (tmp_path / "c.NPY.npy").rename(tmp_path / "c.NPY")
    write_depth_archive(tmp_path / "d.zip", torch.from_numpy(DEPTH))
    for name in ("a.npz", "b.npz", "c.NPY", "d.zip"):
        depth = read_depth_file(tmp_path / name).depth
        torch.testing.assert_close(depth, torch.from_numpy(DEPTH), rtol=1e-3, atol=0)
        two = read_depth_file(tmp_path / name, [2, 0]).depth
        torch.testing.assert_close(two, torch.from_numpy(DEPTH[[2, 0]]), rtol=1e-3, atol=0)
    for name, channels in (("z", {"Z": DEPTH[1], "A": DEPTH[0]}), ("y", {"Y": DEPTH[1]})):
        path = tmp_path / f"{name}.exr"
        OpenEXR.File({"type": OpenEXR.scanlineimage}, channels).write(str(path))
        torch.testing.assert_close(read_depth_file(path).depth[0], torch.from_numpy(DEPTH[1]))


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("name", ["intrinsics", "K"])
def test_intrinsics_come_along(tmp_path: Path, name: str, each: bool) -> None:
    """Catches a matrix that is read as four numbers, and intrinsics of another frame."""
    lens = np.array([[5.0, 6, 3, 4], [7, 8, 3, 4], [9, 10, 3, 4]], dtype=np.float32)
    matrix = np.zeros((3, 3, 3), dtype=np.float32)
    matrix[:, [0, 1, 0, 1], [0, 1, 2, 2]] = lens
    matrix[:, 2, 2] = 1
    values = {"intrinsics": lens, "K": matrix}[name]
    np.savez(tmp_path / "a.npz", **{"depth": DEPTH, name: values if each else values[0]})
    stored = read_depth_file(tmp_path / "a.npz", [2])
    assert stored.intrinsics is not None
    assert stored.intrinsics.tolist() == [lens[2 if each else 0].tolist()]


def test_broken_files_are_input_errors(tmp_path: Path) -> None:
    """Catches depth that is guessed from what is not there, and errors without the file's name."""
    np.savez(tmp_path / "name.npz", z=DEPTH)
    np.savez(tmp_path / "shape.npz", depth=DEPTH[0, 0])
    np.savez(tmp_path / "text.npz", depth=np.array([["a", "b"]]))
    np.savez(tmp_path / "nothing.npz", depth=np.full((4, 4), np.nan))
    np.savez(tmp_path / "negative.npz", depth=-DEPTH)
    np.savez(tmp_path / "lens.npz", depth=DEPTH, K=np.eye(2))
    np.savez(tmp_path / "object.npz", depth=np.array([{}, {}], dtype=object))
    np.savez(tmp_path / "whole.npz", depth=DEPTH)
    content = (tmp_path / "whole.npz").read_bytes()
    (tmp_path / "half.npz").write_bytes(content[: len(content) // 2])
    for name in ("zero.npy", "bad.exr", "bad.zip", "picture.png"):
        (tmp_path / name).write_bytes(b"")
    names = [path.name for path in tmp_path.iterdir() if path.name != "whole.npz"]
    assert len(names) == 12
    for name in [*names, "none.npz"]:
        with pytest.raises(InputError, match=name):
            read_depth_file(tmp_path / name)
    with pytest.raises(InputError, match="no frame 3"):
        read_depth_file(tmp_path / "whole.npz", [0, 3])
