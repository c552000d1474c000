"""Tests of the published trajectories and of the resampling of a user's own."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from src.geometry.cameras import check_poses, invert_rigid, matrix_to_quaternion
from src.geometry.trajectories import (
    MULTI_TRAJECTORY,
    ROTATIONS,
    TRAJECTORIES,
    TrajectorySpec,
    make_trajectory,
    poses_relative_to_first,
    resample_intrinsics,
    resample_poses,
)
from src.runtime import InputError

# Published poses (121 frames, centre depth 1, facing the centre): spec, frame, rows of w2c.
KNOWN = [
    (
        TrajectorySpec("left", 0.3),
        120,
        [[0.958478, 0, -0.285167, 0.297521], [0, 1, 0, 0], [0.285167, 0, 0.958478, 0]],
    ),
    (
        TrajectorySpec("up", 0.2),
        120,
        [[1, 0, 0, 0], [0, 0.980891, -0.194557, 0.198347], [0, 0.194557, 0.980891, 0]],
    ),
    (
        TrajectorySpec("clockwise", 0.6, "center_facing", 0.15, 0.1, 2),
        15,
        [
            [0.995974, 0, -0.089638, 0.09],
            [0.005347, 0.998219, 0.059412, -0.06],
            [0.089478, -0.059652, 0.994201, 0],
        ],
    ),
    (
        TrajectorySpec("clockwise", 0.6, "center_facing", 0.15, 0.1, 2),
        120,
        [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]],
    ),
]


@pytest.mark.parametrize(("spec", "frame", "rows"), KNOWN)
def test_known_poses(spec: TrajectorySpec, frame: int, rows: list[list[float]]) -> None:
    """Catches -R p in the translation column, n for n - 1 in a division, a wrong look-at target."""
    pose = make_trajectory(spec, 121)[frame]
    expected = torch.tensor(rows, dtype=torch.float32)
    torch.testing.assert_close(pose[:3], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", TRAJECTORIES)
@pytest.mark.parametrize("rotation", ROTATIONS)
def test_every_trajectory_starts_at_its_source_and_stays_rigid(
    random_poses: Callable[..., Tensor], name: str, rotation: str
) -> None:
    """Catches a source pose on the wrong side, or one for all frames where each has its own."""
    source = random_poses(9)
    poses = make_trajectory(TrajectorySpec(name, 0.4, rotation), 9, 1.7, source)
    assert poses.dtype == torch.float32
    check_poses(poses, name)
    torch.testing.assert_close(poses[0], source[0])
    local = make_trajectory(TrajectorySpec(name, 0.4, rotation), 9, 1.7)
    torch.testing.assert_close(poses, local @ source)
    fixed = make_trajectory(TrajectorySpec(name, 0.4, rotation), 9, 1.7, source[0])
    torch.testing.assert_close(fixed, local @ source[0])


@pytest.mark.parametrize("name", TRAJECTORIES)
def test_translations_scale_with_the_centre_depth(name: str) -> None:
    """Catches a distance in world units, or a look-at target that stays at depth 1."""
    near = make_trajectory(TrajectorySpec(name, 0.3), 12, 1.0)
    far = make_trajectory(TrajectorySpec(name, 0.3), 12, 5.0)
    torch.testing.assert_close(far[:, :3, 3], 5 * near[:, :3, 3])
    torch.testing.assert_close(far[:, :3, :3], near[:, :3, :3])


def test_directions_of_the_straight_trajectories() -> None:
    """Catches swapped signs; a camera that does not turn has its centre at the offset."""
    axes = {"left": (-1, 0, 0), "right": (1, 0, 0), "up": (0, -1, 0), "down": (0, 1, 0)}
    axes |= {"zoom_in": (0, 0, 1), "zoom_out": (0, 0, -1)}
    for name, axis in axes.items():
        w2c = make_trajectory(TrajectorySpec(name, 0.5, "no_rotation"), 10)
        centre = invert_rigid(w2c)[-1, :3, 3]
        torch.testing.assert_close(centre, 0.5 * 0.9 * torch.tensor(axis, dtype=torch.float32))


def test_clockwise_and_counterclockwise_mirror_each_other() -> None:
    """Catches a sign on the vertical axis, which both share."""
    offsets = [
        make_trajectory(TrajectorySpec(name, 0.3, "no_rotation", 0.5, 0.2, 3), 31)[:, :3, 3]
        for name in ("clockwise", "counterclockwise")
    ]
    mirror = torch.tensor([-1.0, 1.0, 1.0])
    torch.testing.assert_close(offsets[0], offsets[1] * mirror)
    # w2c carries -p: a clockwise camera first moves down (y > 0), then left of the start.
    assert offsets[0][2, 1] < 0
    assert offsets[0][5, 0] == pytest.approx(0.3 * 0.5 * 2, abs=1e-6)


def test_the_camera_faces_its_target() -> None:
    """Catches a target of another rotation mode: its direction decides the forward axis."""
    for rotation, share in {"center_facing": 0, "no_rotation": 1, "trajectory_aligned": 2}.items():
        w2c = make_trajectory(TrajectorySpec("right", 0.6, rotation), 4, 2.0)
        offset = torch.tensor([0.6 * 2.0 * 0.75, 0, 0])
        forward = torch.tensor([0, 0, 2.0]) + (share - 1) * offset
        torch.testing.assert_close(w2c[3, 2, :3], forward / forward.norm())


def test_the_six_trajectories_and_their_ranges() -> None:
    """Catches another order or range; the distances are those of the known random draw."""
    distances = {"right": 0.213436, "up": 0.113436, "zoom_out": 0.313436, "zoom_in": 0.313436}
    distances |= {"left": 0.213436, "clockwise": 0.426873}
    order = [entry.name for entry in MULTI_TRAJECTORY]
    assert order == ["left", "right", "up", "zoom_out", "zoom_in", "clockwise"]
    for entry in MULTI_TRAJECTORY:
        spec = entry.spec(0.13436424)
        assert spec.distance == pytest.approx(distances[spec.name], abs=1e-6)
        assert entry.spec(0.5, 2.0).distance == pytest.approx(entry.lowest + entry.highest)
    assert spec == TrajectorySpec("clockwise", spec.distance, "center_facing", 0.15, 0.1, 2)


@pytest.mark.parametrize(
    ("spec", "frames", "depth", "message"),
    [
        (TrajectorySpec("sideways", 0.3), 5, 1.0, "sideways.*left, right"),
        (TrajectorySpec("left", 0.3, "upside_down"), 5, 1.0, "upside_down.*center_facing"),
        (TrajectorySpec("left", math.nan), 5, 1.0, "finite"),
        (TrajectorySpec("left", 0.3), 5, 0.0, "centre depth.*0.0"),
        (TrajectorySpec("left", 0.3), 5, math.inf, "centre depth.*inf"),
        (TrajectorySpec("left", 0.3), 0, 1.0, "at least 1"),
        (TrajectorySpec("zoom_in", 2.0), 2, 1.0, "stays away from its look-at target"),
    ],
)
def test_impossible_trajectories_are_refused(
    spec: TrajectorySpec, frames: int, depth: float, message: str
) -> None:
    """Catches NaN poses that would travel on, and names outside the tables."""
    with pytest.raises(InputError, match=message):
        make_trajectory(spec, frames, depth)


def test_one_frame_is_the_source_pose() -> None:
    """Catches the division by n - 1 = 0 of a spiral."""
    for name in TRAJECTORIES:
        torch.testing.assert_close(make_trajectory(TrajectorySpec(name, 0.3), 1)[0], torch.eye(4))


def test_trajectories_match_the_original(shared: Path) -> None:
    """Catches any difference from the published paths, in all settings, types and modes."""
    folder = shared / "fixtures" / "sdg_cameras"
    config = json.loads((folder / "fixture.json").read_text())["config"]
    tensors = load_file(folder / "tensors.safetensors")
    for index, setting in enumerate(config["settings"]):
        frames = setting["num_frames"]
        suffix = {"single": "single", "per_frame": frames}.get(setting["source"])
        source = tensors.get(f"inputs/source_w2c_{suffix}")
        keys = ("radius_x_factor", "radius_y_factor", "num_circles")
        factors = [setting[key] for key in keys]
        reference = tensors[f"outputs/w2c_{index}"]
        stride = math.ceil(frames / reference.shape[1])
        for case, expected in zip(config["cases"], reference, strict=True):
            name, rotation = case.split("/")
            spec = TrajectorySpec(name, setting["distance"], rotation, *factors)
            ours = make_trajectory(spec, frames, setting["center_depth"], source)[::stride]
            assert (ours - expected).norm() <= 1e-6 * expected.norm(), (index, case)


@pytest.mark.parametrize(("given", "wanted"), [(2, 9), (5, 5), (7, 4), (3, 17), (9, 1), (1, 6)])
def test_resampling_keeps_the_ends_exactly_and_stays_rigid(
    random_poses: Callable[..., Tensor], given: int, wanted: int
) -> None:
    """Catches an off-by-one in the steps and poses that are not rotations any more."""
    c2w = random_poses(given)
    poses = resample_poses(c2w, wanted)
    assert poses.dtype == c2w.dtype
    check_poses(poses, "resampled")
    assert torch.equal(poses[0], c2w[0])
    if wanted > 1:
        assert torch.equal(poses[-1], c2w[-1])
    if given == wanted:
        assert torch.equal(poses, c2w)
    if wanted == 2 * given - 1:
        assert torch.equal(poses[::2], c2w)


def test_resampling_turns_evenly_along_the_shortest_arc() -> None:
    """Catches linear interpolation of matrices, and the long way round past half a turn."""
    for degrees in (30.0, 170.0, 190.0, 350.0):
        angle = math.radians(degrees)
        c2w = torch.eye(4, dtype=torch.float64).repeat(2, 1, 1)
        c2w[1, 0, 0] = c2w[1, 2, 2] = math.cos(angle)
        c2w[1, 0, 2], c2w[1, 2, 0] = math.sin(angle), -math.sin(angle)
        c2w[1, :3, 3] = torch.tensor([3.0, 6.0, 9.0])
        poses = resample_poses(c2w, 4)
        torch.testing.assert_close(poses[:, 1, 3], torch.tensor([0, 2, 4, 6]).double())
        shortest = math.remainder(angle, 2 * math.pi)
        turned = torch.atan2(poses[:, 0, 2], poses[:, 0, 0])
        expected = shortest * torch.arange(4, dtype=torch.float64) / 3
        torch.testing.assert_close(turned, expected)


def test_resampling_is_robust_at_equal_and_opposite_rotations() -> None:
    """Catches divisions by the sine of an angle of 0 or 180 degrees."""
    c2w = torch.eye(4).repeat(4, 1, 1)
    c2w[2, 0, 0] = c2w[2, 1, 1] = -1
    c2w[3, 1, 1] = c2w[3, 2, 2] = -1
    poses = resample_poses(c2w, 13)
    check_poses(poses, "resampled")
    assert torch.equal(poses[:5], torch.eye(4).repeat(5, 1, 1))
    # Each quarter step of the two half turns is an eighth of a full turn, w = cos(22.5 degrees).
    steps = poses[4:-1, :3, :3].mT @ poses[5:, :3, :3]
    w = matrix_to_quaternion(steps)[:, 0]
    torch.testing.assert_close(w, torch.full((8,), math.cos(math.pi / 8)), rtol=0, atol=1e-6)


def test_resampling_follows_uneven_times(random_poses: Callable[..., Tensor]) -> None:
    """Catches equal steps between poses that are not equally far apart in time."""
    c2w, intrinsics = random_poses(3), torch.rand(3, 4)
    times = torch.tensor([10.0, 11.0, 14.0])
    poses = resample_poses(c2w, 5, times)
    assert torch.equal(poses[[0, 1, 4]], c2w)
    torch.testing.assert_close(poses[2, :3, 3], torch.lerp(c2w[1, :3, 3], c2w[2, :3, 3], 1 / 3))
    resampled = resample_intrinsics(intrinsics, 5, times)
    torch.testing.assert_close(resampled[2], torch.lerp(intrinsics[1], intrinsics[2], 1 / 3))
    assert torch.equal(resampled[[0, 1, 4]], intrinsics)
    with pytest.raises(AssertionError, match="strictly increasing"):
        resample_poses(c2w, 5, torch.tensor([0.0, 1.0, 1.0]))


def test_relative_poses_begin_with_the_exact_identity(random_poses: Callable[..., Tensor]) -> None:
    """Catches rounding in frame 0, and relative poses that lose the motion between frames."""
    c2w = random_poses(6)
    relative = poses_relative_to_first(c2w)
    assert torch.equal(relative[0], torch.eye(4))
    torch.testing.assert_close(c2w[0] @ relative, c2w, rtol=1e-5, atol=1e-5)
