"""Camera paths: what is read from a file, the way between key frames, paths of other scenes."""

import json
import math
from pathlib import Path

import pytest
import torch

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.io.cameras.file import CameraFile, write_camera_file
from src.reconstruct.camera_path.path import (
    CameraPath,
    PathConfig,
    check_scene,
    read_path,
    smooth_path,
)
from src.runtime import InputError


def turned(angle: float, place: tuple[float, float, float]) -> torch.Tensor:
    """A pose that is turned about the y axis."""
    pose = torch.eye(4, dtype=torch.float64)
    cos, sin = math.cos(angle), math.sin(angle)
    pose[:3, :3] = torch.tensor([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    pose[:3, 3] = torch.tensor(place)
    return pose


def keys(count: int = 4) -> Cameras:
    """Key frames at uneven distances."""
    generator = torch.Generator().manual_seed(1)
    places = torch.rand(count, 3, generator=generator).tolist()
    c2w = torch.stack([turned(0.3 * k * k, (*place,)) for k, place in enumerate(places)])
    lens = torch.tensor([50.0, 50.0, 32.0, 24.0]).double().repeat(count, 1)
    lens[:, :2] += torch.arange(count)[:, None]
    return Cameras(c2w, lens, width=64, height=48)


def write(folder: Path, cameras: Cameras, fps: float = 24.0, times: object = None) -> Path:
    path = folder / "path.json"
    write_camera_file(path, CameraFile(cameras, fps, times))
    return path


def test_frames_and_lens_are_those_of_the_file(tmp_path: Path) -> None:
    """A path taken relative to its first frame, or at another rate."""
    cameras = keys()
    path = read_path(write(tmp_path, cameras, fps=12), PathConfig())
    torch.testing.assert_close(path.cameras.c2w, cameras.c2w.float())
    torch.testing.assert_close(path.cameras.intrinsics, cameras.intrinsics.float())
    assert path.fps == 12 and path.seconds == pytest.approx([0, 1 / 12, 2 / 12, 3 / 12])
    assert read_path(write(tmp_path, cameras), PathConfig(fps=10)).seconds[1] == 0.1


@pytest.mark.parametrize(
    ("width", "height", "size", "scale"),
    [
        (128, 96, (128, 96), 2.0),
        (128, None, (128, 96), 2.0),
        (None, 24, (32, 24), 0.5),
        # Wider: the view is cut above and below; square pixels stay square.
        (128, 48, (128, 48), 2.0),
        (32, 48, (32, 48), 1.0),
    ],
)
def test_the_lens_scales_with_the_size(
    tmp_path: Path, width: int | None, height: int | None, size: tuple[int, int], scale: float
) -> None:
    """Pictures that are stretched, or show more or less than the path's own."""
    file = write(tmp_path, keys())
    cameras = read_path(file, PathConfig(width=width, height=height)).cameras
    assert (cameras.width, cameras.height) == size
    expected = [50 * scale, 50 * scale, size[0] / 2, size[1] / 2]
    torch.testing.assert_close(cameras.intrinsics[0], torch.tensor(expected))


def test_the_way_between_key_frames(tmp_path: Path) -> None:
    """Key frames that are missed, jumps between pieces, a last frame that is lost."""
    cameras, steps = keys(), 6
    smooth = smooth_path(cameras, steps)
    assert len(smooth) == 3 * steps + 1
    torch.testing.assert_close(smooth.c2w[::steps], cameras.c2w)
    torch.testing.assert_close(smooth.intrinsics[::steps], cameras.intrinsics)
    rotations = smooth.c2w[:, :3, :3]
    identity = torch.eye(3).double().expand_as(rotations)
    torch.testing.assert_close(rotations @ rotations.mT, identity)
    # From 0.3 to 1.2 in equal turns.
    angles = torch.atan2(rotations[steps : 2 * steps, 0, 2], rotations[steps : 2 * steps, 0, 0])
    torch.testing.assert_close(angles, 0.3 + 0.9 * torch.arange(steps).double() / steps)
    times = torch.tensor([0.0, 1.0, 4.0, 5.0])
    path = read_path(write(tmp_path, cameras, times=times), PathConfig(interpolate=2))
    assert path.seconds == pytest.approx([0, 0.5, 1, 2.5, 4, 4.5, 5])


def mixed(
    t: float, knots: tuple[float, float], first: torch.Tensor, second: torch.Tensor
) -> torch.Tensor:
    """The point at `t` on the line from one point to the next."""
    low, high = knots
    return ((high - t) * first + (t - low) * second) / (high - low)


def test_the_curve_is_that_of_barry_and_goldman() -> None:
    """Another curve than the one that the page plays, which the poses alone do not tell."""
    cameras, steps = keys(5), 4
    places = cameras.c2w[:, :3, 3]
    points = [2 * places[0] - places[1], *places, 2 * places[-1] - places[-2]]
    knots = [0.0]
    for first, second in zip(points, points[1:], strict=False):
        knots.append(knots[-1] + math.sqrt(float(torch.dist(first, second))))
    found = smooth_path(cameras, steps).c2w[:, :3, 3]
    for frame in range(4 * steps):
        piece, share = frame // steps, frame % steps / steps
        p, k = points[piece : piece + 4], knots[piece : piece + 4]
        t = k[1] + share * (k[2] - k[1])
        a = [mixed(t, (k[i], k[i + 1]), p[i], p[i + 1]) for i in range(3)]
        b = [mixed(t, (k[i], k[i + 2]), a[i], a[i + 1]) for i in range(2)]
        torch.testing.assert_close(found[frame], mixed(t, (k[1], k[2]), b[0], b[1]))


def test_key_frames_at_one_place_turn_the_camera() -> None:
    """A division by the distance 0 of two key frames."""
    cameras = keys(3)
    cameras.c2w[1, :3, 3] = cameras.c2w[0, :3, 3]
    smooth = smooth_path(cameras, 5)
    assert smooth.c2w.isfinite().all()
    torch.testing.assert_close(smooth.c2w[::5], cameras.c2w)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "malformed JSON"),
        ("[]", "a JSON list"),
        ('{"scene": "garden"}', "scene"),
        ('{"width": 64, "height": 48, "fps": 24, "frames": []}', "at least one pose"),
        ('{"width": 64, "height": 48, "fps": 24}', "c2w"),
        ('{"width": 64, "height": 48, "fps": 24, "frames": [{"time": 1}]}', "without"),
    ],
)
def test_what_is_no_path_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    """A traceback, or a message without the file's name."""
    (tmp_path / "path.json").write_text(text)
    with pytest.raises(InputError, match=f"path.json.*{reason}"):
        read_path(tmp_path / "path.json", PathConfig())


def test_bad_poses_and_suffixes_are_refused(tmp_path: Path) -> None:
    """A black video of NaN, or a text file that is read as JSON."""
    file = write(tmp_path, keys())
    values = json.loads(file.read_text())
    for bad, reason in ((math.nan, "nan"), (5.0, "rigid")):
        values["frames"][2]["c2w"][0][0] = bad
        (tmp_path / "bad.json").write_text(json.dumps(values))
        with pytest.raises(InputError, match=f"bad.json.*{reason}"):
            read_path(tmp_path / "bad.json", PathConfig())
    with pytest.raises(InputError, match="no such file"):
        read_path(tmp_path / "none.json", PathConfig())
    with pytest.raises(InputError, match="path.txt.*suffix"):
        read_path(file.rename(tmp_path / "path.txt"), PathConfig())


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"width": 63}, "width: got 63, expected an even"),
        ({"height": 0}, "height: got 0"),
        ({"width": 10_000}, "from 2 to 8192"),
        ({"fps": 0.0}, "fps: got 0"),
        ({"fps": math.nan}, "fps: got nan"),
        ({"interpolate": 0}, "interpolate: got 0"),
    ],
)
def test_senseless_settings_are_refused(settings: dict, reason: str) -> None:
    """An encoder's error after the first frame."""
    with pytest.raises(InputError, match=reason):
        PathConfig(**settings)


def test_odd_pictures_and_single_keys_are_refused(tmp_path: Path) -> None:
    """A path whose own size no video can have, without the way out."""
    odd = Cameras(keys().c2w, keys().intrinsics, width=65, height=48)
    with pytest.raises(InputError, match=r"65x48 pixels.*--width"):
        read_path(write(tmp_path, odd), PathConfig())
    with pytest.raises(InputError, match="1 key frame"):
        read_path(write(tmp_path, keys()[:1]), PathConfig(interpolate=3))


def test_paths_of_other_scenes_are_refused(tmp_path: Path) -> None:
    """A white video."""
    places = torch.rand(400, 3, generator=torch.Generator().manual_seed(3)) - 0.5
    places[:, 2] += 2
    # One far Gaussian does not make the scene large.
    places[0] = 1e4
    gaussians = Gaussians(places, places[:, 0], places, places.new_zeros(400, 4), places)

    def path(pose: torch.Tensor) -> CameraPath:
        away = turned(math.pi, (0.0, 0.0, 0.0))
        cameras = Cameras(torch.stack([away, pose]).float(), keys()[:2].intrinsics.float(), 64, 48)
        return CameraPath(cameras, (0.0, 0.1), 24.0)

    file = tmp_path / "path.json"
    check_scene(file, path(turned(0, (0.1, 0.0, 0.0))), gaussians)
    with pytest.raises(InputError, match=r"path.json.*frame 1.*away from the scene"):
        check_scene(file, path(turned(0, (0.0, 0.0, -500.0))), gaussians)
    with pytest.raises(InputError, match=r"path.json.*nothing of the scene in view"):
        check_scene(file, path(turned(math.pi, (0.1, 0.0, 0.0))), gaussians)
