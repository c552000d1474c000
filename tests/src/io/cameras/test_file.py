"""Tests of camera files: the schema and back, users' arrays, users' trajectories."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from src.geometry.cameras import (
    Cameras,
    check_poses,
    intrinsics_to_matrix,
    invert_rigid,
    quaternion_to_matrix,
)
from src.io.cameras.file import (
    CameraFile,
    read_camera_file,
    trajectory_from_file,
    write_camera_file,
)
from src.runtime import InputError


def _cameras(count: int, width: int = 64, height: int = 48, seed: int = 0) -> Cameras:
    """Cameras with random rotations, centres far and near, and intrinsics of their own."""
    generator = torch.Generator().manual_seed(seed)
    c2w = torch.eye(4).repeat(count, 1, 1)
    c2w[:, :3, :3] = quaternion_to_matrix(torch.randn(count, 4, generator=generator))
    scale = 10 ** (6 * torch.rand(count, 3, generator=generator) - 3)
    c2w[:, :3, 3] = torch.randn(count, 3, generator=generator) * scale
    intrinsics = 20 + 100 * torch.rand(count, 4, generator=generator)
    return Cameras(c2w, intrinsics, width, height)


def _as_npz(path: Path, **arrays: object) -> Path:
    np.savez(path, **{key: np.asarray(value) for key, value in arrays.items()})
    return path


@settings(deadline=None, max_examples=25)
@given(count=st.integers(1, 5), seed=st.integers(0, 10_000), timed=st.booleans())
def test_cameras_survive_a_round_trip_exactly(
    tmp_path_factory: pytest.TempPathFactory, count: int, seed: int, timed: bool
) -> None:
    """Catches digits that are cut, times that are lost, frames in another order."""
    path = tmp_path_factory.mktemp("cameras") / "cameras.json"
    cameras = _cameras(count, seed=seed)
    times = torch.rand(count).cumsum(0) if timed else None
    write_camera_file(path, CameraFile(cameras, 23.976, times))
    back = read_camera_file(path)
    assert torch.equal(back.cameras.c2w, cameras.c2w)
    assert torch.equal(back.cameras.intrinsics, cameras.intrinsics)
    assert (back.cameras.width, back.cameras.height, back.fps) == (64, 48, 23.976)
    assert (back.times is None) if times is None else torch.equal(back.times, times)


def test_the_schema_is_the_documented_one(tmp_path: Path) -> None:
    """Catches renamed keys: other programs read these files."""
    write_camera_file(tmp_path / "a.json", CameraFile(_cameras(2), 24.0, torch.tensor([0.0, 0.5])))
    content = json.loads((tmp_path / "a.json").read_text())
    assert list(content) == ["width", "height", "fps", "frames"]
    assert list(content["frames"][1]) == ["c2w", "intrinsics", "time"]
    assert np.shape(content["frames"][1]["c2w"]) == (4, 4)
    assert content["frames"][1]["time"] == 0.5


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    """Catches files that are written in place, NaN in JSON, and forgotten temporary files."""
    path = tmp_path / "a.json"
    write_camera_file(path, CameraFile(_cameras(2), 24.0))
    before = path.read_bytes()
    broken = _cameras(2)
    broken.c2w[1, 0, 3] = torch.nan
    with pytest.raises(ValueError, match="JSON"):
        write_camera_file(path, CameraFile(broken, 24.0))
    with pytest.raises(ValueError, match="shorter"):
        write_camera_file(path, CameraFile(_cameras(2), 24.0, torch.zeros(1)))
    with pytest.raises(AssertionError, match="poses of shape"):
        write_camera_file(path, CameraFile(_cameras(2)[:0], 24.0))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("pose_key", ["c2w", "w2c"])
@pytest.mark.parametrize("key", ["intrinsics", "K"])
@pytest.mark.parametrize("shape", ["4", "n4", "33", "n33"])
def test_users_arrays_in_every_form(
    tmp_path: Path, suffix: str, pose_key: str, key: str, shape: str
) -> None:
    """Catches a pose that is not inverted, and shapes of intrinsics that are taken for another."""
    # Three frames: a 3 x 3 matrix must not be taken for one row per frame.
    cameras = _cameras(3)
    poses = cameras.c2w if pose_key == "c2w" else cameras.w2c
    numbers = cameras.intrinsics if "n" in shape else cameras.intrinsics[0]
    value = intrinsics_to_matrix(numbers) if "33" in shape else numbers
    arrays = {pose_key: poses.tolist(), key: value.tolist(), "width": 64, "height": 48}
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        _as_npz(path, **arrays, fps=30, times=[0, 1, 5])
    else:
        path.write_text(json.dumps(arrays | {"fps": 30, "times": [0, 1, 5]}))
    found = read_camera_file(path)
    # The inverse of a pose far from the origin is exact to its distance times 1e-7.
    torch.testing.assert_close(found.cameras.c2w, cameras.c2w, rtol=1e-5, atol=1e-3)
    assert torch.equal(found.cameras.intrinsics, numbers.expand(3, 4))
    assert (found.fps, found.cameras.width, found.cameras.height) == (30, 64, 48)
    assert found.times is not None
    assert found.times.tolist() == [0, 1, 5]
    assert found.cameras.c2w.dtype == found.times.dtype == torch.float32


def test_defaults_of_a_users_file(tmp_path: Path) -> None:
    """Catches a frame rate that is required, and a size that is guessed."""
    cameras = _cameras(2)
    path = _as_npz(tmp_path / "a.npz", c2w=cameras.c2w, K=cameras.K[0])
    with pytest.raises(InputError, match="`width` and `height`"):
        read_camera_file(path)
    found = read_camera_file(path, size=(32, 24))
    assert (found.fps, found.cameras.width, found.cameras.height) == (24, 32, 24)
    assert found.times is None


def _trajectory(path: Path, cameras: Cameras, times: Tensor | None = None) -> Path:
    write_camera_file(path, CameraFile(cameras, 24.0, times))
    return path


def test_a_trajectory_starts_at_the_identity_and_keeps_its_ends(tmp_path: Path) -> None:
    """Catches poses in world axes, an off-by-one in the resampling, unscaled intrinsics."""
    cameras = _cameras(4)
    path = _trajectory(tmp_path / "a.json", cameras)
    clip = trajectory_from_file(path, 13, width=128, height=24)
    assert clip.c2w.shape == (13, 4, 4)
    assert clip.c2w.dtype == clip.intrinsics.dtype == torch.float32
    assert torch.equal(clip.c2w[0], torch.eye(4))
    check_poses(clip.c2w, path)
    relative = invert_rigid(cameras.c2w[0].double()) @ cameras.c2w.double()
    torch.testing.assert_close(clip.c2w[::4], relative.float(), rtol=1e-5, atol=1e-4)
    scale = torch.tensor([2, 0.5, 2, 0.5])
    torch.testing.assert_close(clip.intrinsics[::4], cameras.intrinsics * scale)
    assert (clip.width, clip.height) == (128, 24)


def test_intrinsics_without_a_size_are_for_the_size_asked_for(tmp_path: Path) -> None:
    """Catches intrinsics that are scaled from a guessed size."""
    cameras = _cameras(2)
    path = _as_npz(tmp_path / "a.npz", w2c=cameras.w2c, intrinsics=cameras.intrinsics)
    clip = trajectory_from_file(path, 2, width=1280, height=704)
    assert torch.equal(clip.intrinsics, cameras.intrinsics)


def test_a_trajectory_far_from_the_origin_keeps_its_precision(tmp_path: Path) -> None:
    """Catches float32 before the poses are made relative: map coordinates would lose it all."""
    c2w = np.tile(np.eye(4), (3, 1, 1))
    c2w[:, 0, 3] = 4_500_000 + np.array([0, 0.001, 0.002])
    path = _as_npz(tmp_path / "a.npz", c2w=c2w, intrinsics=[50, 50, 32, 24])
    clip = trajectory_from_file(path, 3, 64, 48)
    expected = torch.tensor([0, 0.001, 0.002])
    torch.testing.assert_close(clip.c2w[:, 0, 3], expected, rtol=1e-5, atol=1e-8)


def test_rounded_digits_do_not_make_the_first_frame_jump(tmp_path: Path) -> None:
    """Catches the inverse of a pose that is orthonormal to four decimals only."""
    pose = (_cameras(1).c2w[0].double() * 1e4).round() / 1e4
    path = _as_npz(tmp_path / "a.npz", c2w=pose.expand(2, 4, 4), intrinsics=[50, 50, 32, 24])
    clip = trajectory_from_file(path, 5, 64, 48)
    torch.testing.assert_close(clip.c2w, torch.eye(4).expand(5, 4, 4), rtol=0, atol=1e-7)


def test_times_decide_where_the_camera_is(tmp_path: Path) -> None:
    """Catches times that are read but not used."""
    c2w = torch.eye(4).repeat(3, 1, 1)
    c2w[:, 2, 3] = torch.tensor([0.0, 3.0, 4.0])
    cameras = Cameras(c2w, torch.full((3, 4), 30.0), 64, 48)
    path = _trajectory(tmp_path / "a.json", cameras, torch.tensor([0.0, 3.0, 4.0]))
    clip = trajectory_from_file(path, 5, 64, 48)
    torch.testing.assert_close(clip.c2w[:, 2, 3], torch.arange(5.0))


def test_one_pose_is_no_trajectory(tmp_path: Path) -> None:
    """Catches a still clip made from a file that lacks its trajectory."""
    path = _trajectory(tmp_path / "a.json", _cameras(1))
    assert len(read_camera_file(path).cameras) == 1
    with pytest.raises(InputError, match=r"a\.json.*1 pose.*at least 2 poses"):
        trajectory_from_file(path, 5, 64, 48)


def test_standing_times_are_no_trajectory(tmp_path: Path) -> None:
    """Catches a division by zero between two frames of one time."""
    path = _trajectory(tmp_path / "a.json", _cameras(3), torch.tensor([0.0, 1.0, 1.0]))
    with pytest.raises(InputError, match="strictly increasing"):
        trajectory_from_file(path, 5, 64, 48)
