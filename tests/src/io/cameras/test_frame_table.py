from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from src.io.cameras.frame_table import read_intrinsics, read_poses, write_frame_table
from src.runtime import InputError

Poses = Callable[[int], Tensor]


def test_what_is_written_is_published_and_read_back(tmp_path: Path, poses: Poses) -> None:
    """Wrong names, types or numbering in the npz that published readers open."""
    path = tmp_path / "pose" / "a.npz"
    write_frame_table(path, poses(5))
    with np.load(path) as archive:
        assert sorted(archive.files) == ["data", "inds"]
        assert archive["data"].dtype == np.float32 and archive["data"].shape == (5, 4, 4)
        assert archive["inds"].dtype == np.int64 and archive["inds"].tolist() == [0, 1, 2, 3, 4]
    table = read_poses(path)
    torch.testing.assert_close(table.values, poses(5).float(), rtol=0, atol=0)
    picked = torch.tensor([4, 0, 4, 2])
    torch.testing.assert_close(table.at(picked), poses(5).float()[picked], rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_flat_poses_and_matrix_intrinsics_are_read(
    tmp_path: Path, poses: Poses, dtype: type
) -> None:
    """The other layouts that ViPE writes: (K, 16) poses and (K, 3, 3) intrinsics."""
    inds = np.arange(3)
    np.savez(tmp_path / "p.npz", data=poses(3).numpy().reshape(3, 16).astype(dtype), inds=inds)
    matrices = np.tile(np.array([[9.0, 0, 5], [0, 8, 4], [0, 0, 1]], dtype=dtype), (3, 1, 1))
    np.savez(tmp_path / "k.npz", data=matrices, inds=inds)
    torch.testing.assert_close(read_poses(tmp_path / "p.npz").values, poses(3).float())
    values = read_intrinsics(tmp_path / "k.npz").values
    assert values.dtype == torch.float32
    assert values.tolist() == [[9, 8, 5, 4]] * 3


@pytest.mark.parametrize("frame", [-1, 3, 5, 8])
def test_a_frame_without_a_row_is_named(tmp_path: Path, poses: Poses, frame: int) -> None:
    """A neighbour's pose for a frame that is not in the file, inside, before and behind it."""
    path = tmp_path / "pose.npz"
    np.savez(path, data=poses(4).numpy(), inds=np.array([0, 2, 4, 7]))
    table = read_poses(path)
    assert table.at(torch.tensor([7, 2]))[:, 0, 3].tolist() == [3, 1]
    with pytest.raises(InputError, match=f"{path}: got no row for frame {frame}, expected"):
        table.at(torch.tensor([0, frame]))


def broken_pose_files(poses: Tensor) -> dict[str, tuple[dict[str, np.ndarray], str]]:
    good = poses.numpy()
    inds = np.arange(len(good))
    nan, singular, skewed, mirrored = good.copy(), good.copy(), good.copy(), good.copy()
    nan[1, 0, 3] = np.nan
    singular[2, :3, :3] = 0
    skewed[1, 0, 1] += 0.1
    mirrored[0, :3, 0] *= -1
    return {
        "nan": ({"data": nan, "inds": inds}, "non-finite pose at index 1"),
        "singular": ({"data": singular, "inds": inds}, "pose 2 = .* rigid, invertible"),
        "skewed": ({"data": skewed, "inds": inds}, "pose 1 = "),
        "mirrored": ({"data": mirrored, "inds": inds}, "pose 0 = "),
        "integers": ({"data": good.astype(np.int64), "inds": inds}, "data int64"),
        "shape": ({"data": good[:, :3], "inds": inds}, r"\[3, 3, 4\], expected .*\[n, 4, 4\]"),
        "empty": ({"data": good[:0], "inds": inds[:0]}, r"\[0, 4, 4\]"),
        "scalar": ({"data": np.array(1.0), "inds": inds}, r"float64 \[\]"),
        "short inds": ({"data": good, "inds": inds[:2]}, r"inds int64 \[2\]"),
        "float inds": ({"data": good, "inds": inds.astype(float)}, "inds float64"),
        "unsorted": ({"data": good, "inds": inds[::-1]}, "inds 2, 1 at row 0"),
        "repeated": ({"data": good, "inds": inds // 2}, "inds 0, 0 at row 0"),
        "no inds": ({"data": good}, "no array 'inds'"),
        "objects": ({"data": good.astype(object), "inds": inds}, "unreadable .*pickled objects"),
    }


@pytest.mark.parametrize("case", list(broken_pose_files(torch.eye(4).repeat(3, 1, 1))))
def test_broken_pose_files_are_refused(tmp_path: Path, poses: Poses, case: str) -> None:
    """Bad poses that would surface far away as black renders or NaN losses."""
    path = tmp_path / "pose.npz"
    arrays, message = broken_pose_files(poses(3))[case]
    np.savez(path, allow_pickle=True, **arrays)
    with pytest.raises(InputError, match=message) as caught:
        read_poses(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("bad", [[0.0, 5, 4, 4], [5, -1, 4, 4], [5, 5, np.inf, 4]])
def test_broken_intrinsics_are_refused(tmp_path: Path, bad: list[float]) -> None:
    """Focal lengths of zero or less, infinite principal points."""
    path = tmp_path / "k.npz"
    np.savez(path, data=np.array([[5.0, 5, 4, 4], bad]), inds=np.array([3, 9]))
    with pytest.raises(InputError, match="for frame 9, expected finite fx fy cx cy"):
        read_intrinsics(path)


def test_unreadable_files_are_refused(tmp_path: Path, poses: Poses) -> None:
    """Missing, empty, truncated and foreign files that raise whatever numpy and zipfile raise."""
    whole = tmp_path / "whole.npz"
    write_frame_table(whole, poses(50))
    content = whole.read_bytes()
    path = tmp_path / "pose.npz"
    with pytest.raises(InputError, match="no such file"):
        read_poses(path)
    np.save(tmp_path / "bare.npy", poses(2).numpy())
    bare = (tmp_path / "bare.npy").read_bytes()
    for broken in (b"", b"text", content[:100], content[:-30], bare):
        path.write_bytes(broken)
        with pytest.raises(InputError, match=f"{path}: got unreadable"):
            read_poses(path)
