"""Draws depend on nothing but seed, scene and trajectory; cameras follow the published paths."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from cosmos_predict1.diffusion.config import CameraConfig
from cosmos_predict1.diffusion.scenes.shots import (
    Rig,
    Shot,
    describe,
    draw,
    file_intrinsics,
    list_shots,
    published_draw,
    shot_rig,
    shot_spec,
)
from src.geometry.cameras import Cameras, invert_rigid
from src.geometry.trajectories import MULTI_TRAJECTORY, TrajectorySpec, make_trajectory
from src.io.cameras.file import CameraFile, write_camera_file
from src.runtime import InputError

LENS = torch.tensor([40.0, 42, 24, 16])
MULTI = CameraConfig(multi=True)


def still_rig(count: int, center_depth: float = 1.0) -> Rig:
    return Rig(LENS.expand(count, 4), torch.eye(4).expand(count, 4, 4), center_depth)


def moving_rig(count: int, center_depth: float = 1.0) -> Rig:
    """A source camera on a path of its own, and a lens that zooms."""
    w2c = make_trajectory(TrajectorySpec("clockwise", 0.5), count)
    return Rig(LENS * torch.linspace(1, 1.5, count)[:, None], w2c, center_depth)


def user_file(folder: Path, count: int = 5) -> Path:
    """A path to the right by 0.1 a frame, with a lens that zooms by a tenth a frame."""
    c2w = torch.eye(4).repeat(count, 1, 1)
    c2w[:, 0, 3] = 0.1 * torch.arange(count)
    lens = torch.tensor([50.0, 50, 24, 16]).repeat(count, 1)
    lens[:, :2] *= 1 + 0.1 * torch.arange(count)[:, None]
    path = folder / "cameras.json"
    write_camera_file(path, CameraFile(Cameras(c2w, lens, 48, 32), 24.0))
    return path


def test_draws_repeat_and_differ() -> None:
    """One noise for all clips, or draws that depend on the order in which clips are made."""
    keys = [(s, k, f) for s in (1, 2) for k in ("a", "a0", "b") for f in ("", "0", "1", "00")]
    draws = [draw(*key) for key in keys]
    assert draws == [draw(*key) for key in keys]
    assert len({item.seed for item in draws}) == len({item.position for item in draws}) == len(keys)
    assert all(0 <= item.position < 1 and 0 <= item.seed < 2**32 for item in draws)


def test_the_published_distances() -> None:
    """A flag for the published paths whose distances are others: the table is the original's."""
    drawn = published_draw(1)
    specs = [shot_spec(shot, MULTI, drawn) for shot in list_shots(MULTI)[1:]]
    distances = [spec.distance for spec in specs if isinstance(spec, TrajectorySpec)]
    wanted = [0.213436, 0.113436, 0.313436, 0.313436, 0.426873]
    assert distances == pytest.approx(wanted, abs=1e-6) and drawn.seed == 1


def test_positions_fill_the_range() -> None:
    """Distances that crowd at one end of their range."""
    positions = torch.tensor([draw(1, str(k), "0").position for k in range(2000)])
    counts = torch.histc(positions, bins=4, min=0, max=1)
    assert (counts > 400).all()


def test_the_six_shots_in_the_published_order() -> None:
    """A folder number that means another trajectory than the decoder expects."""
    shots = list_shots(MULTI)
    assert [shot.folder for shot in shots] == ["0", "1", "2", "3", "4", "5"]
    specs = [shot_spec(shot, MULTI, draw(1, "scene", shot.folder)) for shot in shots]
    for spec, limits in zip(specs, MULTI_TRAJECTORY, strict=True):
        assert isinstance(spec, TrajectorySpec)
        assert spec.name == limits.name and limits.lowest <= spec.distance <= limits.highest
        assert spec.num_circles == 2 and spec.rotation == "center_facing"


def test_the_factor_stretches_drawn_distances_alone() -> None:
    """--total_movement_distance_factor applied twice, or to a single trajectory."""
    shot, drawn = list_shots(MULTI)[3], draw(1, "scene", "3")
    near = shot_spec(shot, MULTI, drawn)
    far = shot_spec(shot, replace(MULTI, factor=2.0), drawn)
    assert isinstance(near, TrajectorySpec) and isinstance(far, TrajectorySpec)
    assert far.distance == pytest.approx(2 * near.distance)
    single = CameraConfig(distance=0.25, factor=2.0)
    spec = shot_spec(list_shots(single)[0], single, drawn)
    assert isinstance(spec, TrajectorySpec) and spec.distance == 0.25


def test_flipped_shots_come_after_the_others() -> None:
    """Flipped trajectories of another order than the forward ones, or in other folders."""
    shots = list_shots(replace(MULTI, flipped=True))
    assert [shot.folder for shot in shots] == [str(number) for number in range(12)]
    assert [shot.backwards for shot in shots] == [False] * 6 + [True] * 6
    assert [shot.path for shot in shots[:6]] == [shot.path for shot in shots[6:]]


def test_none_stands_still() -> None:
    """The published choice that fails there."""
    config = CameraConfig(trajectory="none")
    spec = shot_spec(list_shots(config)[0], config, draw(1, "a", ""))
    rig = shot_rig(spec, still_rig(9), 32, 48)
    assert (rig.w2c == torch.eye(4)).all()


@pytest.mark.parametrize(
    "config",
    [
        CameraConfig(trajectory="sideways"),
        CameraConfig(rotation="none"),
        CameraConfig(distance=float("nan")),
        CameraConfig(trajectory="zoom_in", distance=float("inf")),
        CameraConfig(trajectory="clockwise", spiral={"num_circles": 1.5}),
        CameraConfig(trajectory="clockwise", spiral={"num_circles": 1e400}),
        CameraConfig(trajectory="clockwise", spiral={"num_circles": float("nan")}),
        CameraConfig(trajectory="clockwise", spiral={"num_circles": 10**400}),
        CameraConfig(trajectory="clockwise", spiral={"num_circles": 1e30}),
        CameraConfig(trajectory="clockwise", spiral={"radius_x_factor": 1e300}),
        CameraConfig(trajectory="clockwise", spiral={"radius_y_factor": 10**400}),
        CameraConfig(distance=1e300),
        CameraConfig(multi=True, spiral={"num_circles": float("inf")}),
        CameraConfig(file=Path("nowhere.json")),
    ],
)
def test_impossible_trajectories_are_refused(config: CameraConfig) -> None:
    """A trajectory without cameras, noticed after the networks were loaded."""
    with pytest.raises(InputError):
        list_shots(config)


def test_a_still_source_gives_the_published_poses() -> None:
    """Poses inverted twice, or relative to something else than the picture."""
    spec = TrajectorySpec("left", 0.3)
    rig = shot_rig(spec, still_rig(121), 704, 1280)
    wanted = torch.tensor([[0.958478, 0, -0.285167, 0.297521], [0, 1, 0, 0]])
    torch.testing.assert_close(rig.w2c[120, :2], wanted, atol=1e-6, rtol=0)
    cameras = rig.cameras(704, 1280)
    torch.testing.assert_close(invert_rigid(cameras.c2w), rig.w2c, atol=1e-6, rtol=0)
    assert (rig.intrinsics == LENS).all()


def test_a_moving_source_carries_the_path_along() -> None:
    """The path of the first source camera used for all frames, or composed the wrong way round."""
    source = moving_rig(9, center_depth=3.0)
    rig = shot_rig(TrajectorySpec("right", 0.2), source, 32, 48)
    local = make_trajectory(TrajectorySpec("right", 0.2), 9, 3.0)
    torch.testing.assert_close(rig.w2c, local @ source.w2c, atol=1e-6, rtol=0)
    assert (rig.w2c[0] == source.w2c[0]).all()
    assert (rig.intrinsics == source.intrinsics).all()


def test_a_file_moves_in_units_of_the_centre_depth(tmp_path: Path) -> None:
    """A user's translation taken for metres, or its zoom for the source's lens."""
    path = user_file(tmp_path)
    rig = shot_rig(path, still_rig(5, center_depth=2.0), 32, 48)
    centres = torch.linalg.inv(rig.w2c)[:, 0, 3]
    torch.testing.assert_close(centres, 0.2 * torch.arange(5), atol=1e-6, rtol=0)
    zoom = 1 + 0.1 * torch.arange(5)
    torch.testing.assert_close(rig.intrinsics[:, 0], LENS[0] * zoom)
    torch.testing.assert_close(rig.intrinsics[:, 2:], LENS[2:].expand(5, 2))
    torch.testing.assert_close(file_intrinsics(path, 64, 96), torch.tensor([100.0, 100, 48, 32]))


def test_a_file_is_relative_to_a_moving_source(tmp_path: Path) -> None:
    """A user's path that forgets the camera that took the video."""
    source = moving_rig(5)
    rig = shot_rig(user_file(tmp_path), source, 32, 48)
    between = rig.w2c @ torch.linalg.inv(source.w2c)
    wanted = torch.eye(4).repeat(5, 1, 1)
    wanted[:, 0, 3] = -0.1 * torch.arange(5)
    torch.testing.assert_close(between, wanted, atol=1e-6, rtol=0)


def test_descriptions_are_plain_values(tmp_path: Path) -> None:
    """Metadata that JSON cannot hold."""
    path = user_file(tmp_path)
    assert describe(path) == {"name": "file", "file": "cameras.json"}
    assert describe(TrajectorySpec("up", 0.1))["distance"] == 0.1
    assert list_shots(CameraConfig(file=path)) == [Shot("", path)]
