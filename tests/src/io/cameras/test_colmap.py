"""COLMAP models as camera files: both forms give the cameras that were written."""

from pathlib import Path

import numpy as np
import pytest
import torch
from corpus.generated import COLMAP_IMAGES, colmap, colmap_files

from src.geometry.cameras import invert_rigid, matrix_to_quaternion, quaternion_to_matrix
from src.io.cameras.file import read_camera_file, trajectory_from_file
from src.runtime import InputError


@pytest.mark.parametrize("binary", [True, False])
def test_written_cameras_are_read_back(tmp_path: Path, binary: bool) -> None:
    """Catches a quaternion in another order, camera-to-world taken for world-to-camera, frames in
    another order, and lenses given to the wrong frames."""
    count = 12
    w2c = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    w2c[:, :3, :3] = quaternion_to_matrix(torch.randn(count, 4, dtype=torch.float64))
    w2c[:, :3, 3] = torch.randn(count, 3, dtype=torch.float64)
    lenses = torch.rand(count, 4, dtype=torch.float64) * 20 + 40
    cameras = [(50 - k, 1, 128, 96, tuple(lenses[k].tolist())) for k in range(count - 1)]
    cameras += [(100, 0, 128, 96, (77.0, 60.0, 50.0))]
    poses = torch.cat([matrix_to_quaternion(w2c[:, :3, :3]), w2c[:, :3, 3]], dim=1)
    images = [
        (k + 1, tuple(poses[k].tolist()), cameras[k][0], f"shot {k}.jpg", k % 3)
        for k in reversed(range(count))
    ]
    colmap(binary, cameras=cameras, images=images)(tmp_path / "sparse")
    found = read_camera_file(tmp_path / "sparse").cameras
    torch.testing.assert_close(found.c2w, invert_rigid(w2c).float(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.intrinsics[:-1], lenses[:-1].float())
    assert found.intrinsics[-1].tolist() == [77, 77, 60, 50]
    assert (found.width, found.height) == (128, 96)


def test_the_binary_form_is_the_one_that_counts(tmp_path: Path) -> None:
    """Catches cameras and images of two models, where a folder holds both forms."""
    folder = tmp_path / "sparse"
    colmap(True)(folder)
    for name, data in colmap_files(False, images=COLMAP_IMAGES[:1]).items():
        (folder / name).write_bytes(data)
    assert len(read_camera_file(folder).cameras) == 2
    for name in ("images.bin", "cameras.bin"):
        (folder / name).unlink()
    assert len(read_camera_file(folder).cameras) == 1


def test_a_model_is_a_trajectory(tmp_path: Path) -> None:
    """Catches a folder that the reader takes and the generator does not; a size that is left."""
    colmap(True)(tmp_path / "sparse")
    cameras = trajectory_from_file(tmp_path / "sparse", 3, 128, 96)
    torch.testing.assert_close(cameras.c2w[2, :3, 3], torch.tensor([1.0, 0.5, 0.0]))
    assert cameras.intrinsics[0].tolist() == [100, 102, 60, 40]


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin"])
def test_every_cut_is_named(tmp_path: Path, name: str) -> None:
    """Catches a model that is read in part, and tracebacks."""
    folder = tmp_path / "sparse"
    colmap(True)(folder)
    whole = (folder / name).read_bytes()
    for content in [*(whole[:size] for size in range(len(whole))), whole + b"more"]:
        (folder / name).write_bytes(content)
        with pytest.raises(InputError, match=rf"sparse/{name}: got"):
            read_camera_file(folder)


@pytest.mark.parametrize("name", ["cameras.bin", "images.bin", "points"])
def test_counts_that_promise_too_much_are_refused(tmp_path: Path, name: str) -> None:
    """Catches memory, or a search, for 10^18 cameras, images or points."""
    folder, place = tmp_path / "sparse", 0
    colmap(True)(folder)
    path = folder / ("images.bin" if name == "points" else name)
    content = bytearray(path.read_bytes())
    if name == "points":
        place = content.index(b"png\0") + 4
        assert content[place] == COLMAP_IMAGES[0][-1]
    content[place : place + 8] = np.uint64(10**18).tobytes()
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"sparse/{path.name}: got"):
        read_camera_file(folder)


def test_a_short_line_of_a_pose_is_named(tmp_path: Path) -> None:
    """A damaged images.txt that ends in an error of Python's own."""
    (tmp_path / "cameras.txt").write_text("1 PINHOLE 64 48 50 51 30 20\n")
    (tmp_path / "images.txt").write_text("2 1.0 0 0 0 -1.0 -0.5 1 a.png\n\n")
    with pytest.raises(InputError, match=r"images\.txt"):
        read_camera_file(tmp_path, (64, 48))
