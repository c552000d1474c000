"""The inputs that people reported: what each reader makes of them. A new report is a new row."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from corpus import generated
from corpus.generated import (
    arrays,
    bomb,
    colmap,
    content,
    flipped,
    npy_header,
    ply,
    transforms,
    zipped,
)

from cosmos_predict1.diffusion.scenes.posed_video import read_posed_tensors
from src.io.cameras.file import read_camera_file, trajectory_from_file
from src.io.cameras.frame_table import read_intrinsics
from src.io.clip.latents import read_latents
from src.io.depth_file import read_depth_file
from src.io.ply import read_ply
from src.io.video.video import VideoInfo, read_video, video_info
from src.runtime import InputError

CORPUS = Path(__file__).parent


@dataclass(frozen=True)
class FileCase:
    """A file, what reads it, and the value that comes out or the message that is shown."""

    file: str
    read: Callable[[Path], object]
    value: object = None
    message: str | None = None
    make: generated.Make | None = None

    def __str__(self) -> str:
        return f"{self.file}-{self.read.__name__}"


def info(path: Path) -> VideoInfo:
    """What a video holds, its rate to a thousandth."""
    found = video_info(path)
    return VideoInfo(found.num_frames, found.height, found.width, round(found.fps, 3))


def frames_read(path: Path) -> tuple[int, int]:
    """The number of frames, read as a whole and by number: the last one and one after it."""
    whole = read_video(path)
    last = read_video(path, [0, video_info(path).num_frames - 1])
    assert bool((last[1] == whole[-1]).all()), "another last frame by number"
    return len(whole), len(last)


def corners(path: Path) -> list[list[int]]:
    """Colours of the corners of the first frame to the nearest 64, from the top left, clockwise."""
    first = read_video(path, [0])[0].float()
    spots = first[[2, 2, -3, -3], [2, -3, -3, 2]]
    return (spots / 64).round().int().clamp(max=4).tolist()


def lens(path: Path) -> list[float]:
    """The lens of the first map of a depth file."""
    found = read_depth_file(path).intrinsics
    assert found is not None, "no lens"
    return [round(value, 2) for value in found[0].tolist()]


def shape(path: Path) -> tuple[int, ...]:
    """The shape of a depth file's maps."""
    return tuple(read_depth_file(path).depth.shape)


def cameras(path: Path) -> object:
    """The second position seen from the first camera, and its lens."""
    contents = read_camera_file(path)
    seen = contents.cameras.relative_to(contents.cameras.c2w[0])
    return seen.c2w[1, :3, 3].tolist(), contents.cameras.intrinsics[1].tolist()


def trajectory(path: Path) -> list[float]:
    """The lens of the first camera of a trajectory."""
    return trajectory_from_file(path, 5, 64, 48).intrinsics[0].tolist()


def intrinsics(path: Path) -> list[float]:
    """The first lens of a clip's table."""
    return read_intrinsics(path).values[0].tolist()


def posed(path: Path) -> int:
    """The number of frames of a video of tensors."""
    return len(read_posed_tensors(path, 24.0).image)


def npy(array: np.ndarray) -> generated.Make:
    """An .npy of an array."""
    return lambda path: np.save(path, array)


def matrix(fx: float, fy: float, cx: float, cy: float) -> list[list[float]]:
    """The matrix of a lens."""
    return [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]


def count(path: Path) -> int:
    """The number of Gaussians in a PLY."""
    return len(read_ply(path))


_D, _BIG = generated.DEPTH, 10**13
DEPTHS = [
    FileCase("a.npy", shape, (3, 12, 16), make=npy(np.tile(_D, (3, 1, 1))[..., None])),
    FileCase("a.npy", shape, (3, 12, 16), make=npy(np.tile(_D, (3, 1, 1))[:, None])),
    FileCase("a.npy", shape, message="shape .12, 16, 3.", make=npy(np.tile(_D[..., None], 3))),
    FileCase("a.npy", shape, message="shape .12, 1, 16.", make=npy(_D[:, None])),
    FileCase("a.npy", shape, message="shape .1, 16.", make=npy(_D[:1])),
    FileCase("a.npy", shape, message="shape .1, 1, 1, 12, 16.", make=npy(_D[None, None, None])),
    FileCase("a.npy", shape, message="complex", make=npy(_D.astype(complex))),
    FileCase("a.npy", shape, message="bool", make=npy(_D > 0)),
    FileCase(
        "a.npy", shape, message="of shape", make=content(npy_header(f"({_BIG}, 12)", bytes(96)))
    ),
    FileCase("a.npy", shape, message="of shape", make=content(npy_header("(12, 16)", bytes(700)))),
    FileCase(
        "a.npy", shape, message="of shape", make=content(npy_header("(-12, -16)", bytes(768)))
    ),
    FileCase("a.npy", shape, message="unreadable", make=content(npy_header("(12, 16", bytes(768)))),
    FileCase("a.npy", shape, message="unreadable", make=content(npy_header("(" * 500, bytes(768)))),
    FileCase(
        "a.npy", shape, message="pickled", make=content(npy_header("(2,)", b"x" * 16, "'|O'"))
    ),
    FileCase("a.npz", lens, [16, 15.6, 8, 6], make=arrays(depth=_D, K=matrix(1.0, 1.3, 0.5, 0.5))),
    FileCase("a.npz", lens, [90, 90, 8, 6], make=arrays(depth=_D, intrinsics=[90, 90, 8, 6])),
    FileCase(
        "a.npz",
        lens,
        message="differ",
        make=arrays(depth=_D, intrinsics=[90, 90, 8, 6], K=matrix(80, 90, 8, 6)),
    ),
    FileCase(
        "a.npz", lens, message="skew", make=arrays(depth=_D, K=[[90, 5, 8], [0, 90, 6], [0, 0, 1]])
    ),
    *[
        FileCase("a.npz", lens, message="`?intrinsics", make=arrays(depth=_D, intrinsics=values))
        for values in (
            [1e38, 1e38, 8, 6],
            [1e-30, 1e-30, 8, 6],
            [-90, 90, 8, 6],
            [0, 90, 8, 6],
            [np.nan, 90, 8, 6],
            [90, 90, np.inf, 6],
            [90 + 1j, 90, 8, 6],
            [True] * 4,
            [90, 90, 1e6, 6],
            [1.0, 1.0, 8, 6e5],
        )
    ],
    FileCase("a.npz", shape, message="compression 14", make=zipped("depth.npy", b"x", 14)),
    FileCase("a.npz", shape, message="compression 99", make=zipped("depth.npy", b"x", 8, (8, 99))),
    FileCase("a.npz", shape, message="unreadable", make=zipped("depth.npy", b"x", 8, (4, 99))),
    FileCase("a.npz", shape, message="encrypted", make=zipped("depth.npy", b"x", 8, (6, 1))),
    FileCase(
        "a.npz",
        shape,
        message="CRC|invalid",
        make=flipped(zipped("depth.npy", npy_header("(12, 16)", bytes(768)), 0), 300),
    ),
    FileCase("a.npz", shape, message="bytes out of", make=bomb("depth.npy", 100)),
    FileCase(
        "a.zip", shape, message="one depth map for each", make=zipped("9" * 5000 + ".exr", b"x")
    ),
]
_NEST = b"[" * 100_000
CAMERA_FILES = [
    FileCase("a.json", cameras, ([0, 0, 0], generated.LENS), make=generated.cameras()),
    FileCase(
        "a.json",
        cameras,
        ([0, 0, 0], generated.LENS),
        make=generated.cameras(c2w=[np.eye(4)[:3].tolist()] * 2),
    ),
    FileCase(
        "a.json",
        trajectory,
        message="shares of the picture",
        make=generated.cameras(intrinsics=[1.07, 1.4, 0.5, 0.5]),
    ),
    *[
        FileCase("a.json", cameras, message="intrinsics", make=generated.cameras(intrinsics=values))
        for values in (
            [1e38, 50, 32, 24],
            [1e-30, 50, 32, 24],
            [0, 50, 32, 24],
            [50, -50, 32, 24],
            [True, 50, 32, 24],
            [[50, 0, 32], [2, 50, 24], [0, 0, 1]],
            [50, 50, 1e30, 24],
            [1e400, 50, 32, 24],
            ["50", 50, 32, 24],
            [50, 50, None, 24],
        )
    ],
    FileCase("a.json", cameras, message="both", make=generated.cameras(K=[60, 50, 32, 24])),
    FileCase(
        "a.json",
        cameras,
        message="translation of 1e.30",
        make=generated.cameras(c2w=[generated.POSE, [[1, 0, 0, 1e30], *generated.POSE[1:]]]),
    ),
    FileCase("a.json", cameras, message="fps", make=generated.cameras(fps=1e30)),
    FileCase("a.json", cameras, message="fps", make=generated.cameras(fps=1e-30)),
    FileCase("a.json", cameras, message="fps", make=generated.cameras(fps=True)),
    FileCase("a.json", cameras, message="width", make=generated.cameras(width=1e30)),
    FileCase("a.json", cameras, message="times", make=generated.cameras(times=[0, 1e30])),
    FileCase(
        "a.json", cameras, message="true or false", make=generated.cameras(times=[False, 1.0])
    ),
    FileCase("a.json", cameras, message="nested", make=content(_NEST)),
    FileCase(
        "a.json", cameras, message="malformed", make=content(b'{"fps": ' + b"9" * 5000 + b"}")
    ),
    FileCase("a.json", cameras, message="'fps' twice", make=content(b'{"fps": 24, "fps": 30}')),
    FileCase(
        "a.npz",
        cameras,
        message="numbers",
        make=arrays(**{**generated.CAMERAS, "intrinsics": np.array(generated.LENS) + 1j}),
    ),
    # nerfstudio: y up and z backwards, so what is higher has a smaller y.
    FileCase("a.json", cameras, ([1.0, -0.5, 0.0], [50, 51, 30, 20]), make=transforms()),
    FileCase(
        "a.json",
        cameras,
        ([1.0, -0.5, 0.0], [32, 32, 32, 24]),
        make=transforms(fl_x=None, fl_y=None, cx=None, cy=None, camera_angle_x=math.pi / 2),
    ),
    FileCase("a.json", cameras, message="FISHEYE", make=transforms(camera_model="OPENCV_FISHEYE")),
    FileCase("a.json", cameras, message="without a lens", make=transforms(fl_x=None)),
    FileCase("a.json", cameras, message="fl_x = abc", make=transforms(fl_x="abc")),
    *[
        FileCase("a.json", cameras, message=f"{name} = |the size", make=transforms(**{name: value}))
        for name in ("fl_x", "cy", "camera_angle_x", "w")
        for value in (math.inf, math.nan, 10**400, 1e300, True)
    ],
    FileCase("a.json", cameras, message="fps", make=generated.cameras(fps=10**400)),
    FileCase("a.json", cameras, message="width", make=generated.cameras(width=10**400)),
    FileCase("a.json", cameras, message="times", make=generated.cameras(times=[0, 10**400])),
    FileCase("a.json", cameras, message="the size", make=transforms(w=None, h=None)),
    FileCase(
        "a.json",
        cameras,
        message="transform_matrix",
        make=transforms(frames=[{"transform_matrix": [[1, 2]]}]),
    ),
]
_STILL = (1.0, 0, 0, 0, 0, 0, 0)


def _colmap(binary: bool) -> list[FileCase]:
    def row(message: str, without: str = "", **parts: object) -> FileCase:
        make = colmap(binary, without, **parts)  # pyright: ignore[reportArgumentType]
        return FileCase("sparse", cameras, message=message, make=make)

    turn = [(1, (1.0, 0, 0, 0, -2.0, 0, 0), 3, "a", 0), (2, (0.0, 0, 1.0, 0, 2.0, 0, 0), 3, "b", 1)]
    simple = colmap(binary, cameras=[(3, 0, 64, 48, (40.0, 30.0, 20.0))], images=turn)
    two_sizes = [(1, 0, 64, 48, (9.0, 9, 9)), (2, 0, 48, 64, (9.0, 9, 9))]
    poses = [
        ((2.0, 0, 0, 0, 0, 0, 0), "length 2"),
        ((0.0, 0, 0, 0, 0, 0, 0), "length 0"),
        ((math.nan, 0, 0, 0, 0, 0, 0), "length nan"),
        ((1.0, 0, 0, 0, math.inf, 0, 0), "w2c"),
        ((1.0, 0, 0, 0, 1e30, 0, 0), "translation of 1e.30"),
    ]
    lenses = [
        ((64, 48), (-50.0, 50, 32, 24), "focal"),
        ((64, 48), (math.nan, 50, 32, 24), "intrinsics"),
        ((64, 48), (1e38, 50, 32, 24), "intrinsics"),
        ((0, 48), (50.0, 50, 32, 24), "width"),
        ((2**40, 48), (50.0, 50, 32, 24), "width"),
    ]
    return [
        FileCase("sparse", cameras, ([1.0, 0.5, 0.0], [50, 51, 30, 20]), make=colmap(binary)),
        # Half a turn about the camera's own place, which is at (2, 0, 0).
        FileCase("sparse", cameras, ([0, 0, 0], [40, 40, 30, 20]), make=simple),
        row(
            "SIMPLE_RADIAL.*distorted.*colmap image_undistorter .*--input_path",
            cameras=[(1, 2, 64, 48, (40.0, 30.0, 20.0, 0.1))],
        ),
        row("camera 1 of 'frame", cameras=[]),
        row("no images", images=[]),
        row("sizes", cameras=two_sizes, images=[(n, _STILL, n, "a", 0) for n in (1, 2)]),
        *[row(words, images=[(1, pose, 1, "a", 0)]) for pose, words in poses],
        *[row(words, cameras=[(1, 1, *size, lens)]) for size, lens, words in lenses],
        row("without cameras and images", "cameras.bin" if binary else "cameras.txt"),
    ]


COLMAP = [*_colmap(binary=True), *_colmap(binary=False)]
TABLES = [
    FileCase("a.npz", intrinsics, [90, 90, 8, 6], make=arrays(data=[[90.0, 90, 8, 6]], inds=[0])),
    FileCase(
        "a.npz", intrinsics, message="shares", make=arrays(data=[[1.07, 1.9, 0.5, 0.5]], inds=[0])
    ),
    FileCase(
        "a.npz",
        intrinsics,
        message="skew",
        make=arrays(data=[[[90.0, 9, 8], [0, 90, 6], [0, 0, 1]]], inds=[0]),
    ),
    FileCase("a.npz", intrinsics, message="lens", make=arrays(data=[[1e38, 90, 8, 6]], inds=[0])),
    FileCase(
        "a.npz", intrinsics, message="complex", make=arrays(data=[[9 + 1j, 9, 8, 6]], inds=[0])
    ),
    FileCase("a.npz", intrinsics, message="bytes out of", make=bomb("data.npy", 100)),
]
LATENTS = [
    FileCase("a.pkl", read_latents, message="bytes out of", make=bomb("archive/data.pkl", 100)),
    FileCase("a.pkl", read_latents, message="damaged pickle", make=zipped("a/data.pkl", b"(" * 9)),
    FileCase("a.pkl", read_latents, message="compression", make=zipped("a/data.pkl", b"x", 12)),
]
TENSORS = [
    FileCase("a.pt", posed, message=r"compressed|storage|size|nested", make=make)
    for make in generated.TORCH_BOMBS.values()
]
PLYS = [
    FileCase("a.ply", count, 1, make=ply({})),
    FileCase("a.ply", count, message="4 surplus bytes", make=ply({}, surplus=bytes(4))),
    FileCase("a.ply", count, message="56 surplus bytes", make=ply({}, count="0")),
    FileCase("a.ply", count, message="early end", make=ply({}, count=str(10**12))),
    FileCase("a.ply", count, message="element vertex", make=ply({}, count=str(10**30))),
    FileCase("a.ply", count, message="element vertex", make=ply({}, count="-1")),
    FileCase("a.ply", count, message="scale_1 100", make=ply({"scale_1": 100})),
    FileCase("a.ply", count, message="quaternion of length 0", make=ply({"rot_0": 0})),
    FileCase("a.ply", count, message="quaternion of length 1e-30", make=ply({"rot_0": 1e-30})),
    FileCase("a.ply", count, message="quaternion of length 1e.30", make=ply({"rot_0": 1e30})),
    FileCase("a.ply", count, message="x 1e.30", make=ply({"x": 1e30})),
    FileCase("a.ply", count, message="non-finite", make=ply({"opacity": math.nan})),
]
ROWS = [
    FileCase("video/dash_sidx.mp4", info, VideoInfo(48, 54, 96, 24.0)),
    FileCase("video/dash_sidx.mp4", frames_read, (48, 2)),
    FileCase("video/mirrored.mp4", info, VideoInfo(10, 36, 64, 24.0)),
    FileCase("video/mirrored.mp4", corners, [[0, 0, 4], [4, 4, 4], [0, 0, 4], [0, 0, 4]]),
    FileCase("video/browser_no_default_duration.webm", info, VideoInfo(36, 36, 64, 23.968)),
    FileCase("video/anamorphic_4x3.mp4", info, VideoInfo(9, 54, 96, 24.0)),
    FileCase("video/opengop_cut.mkv", info, VideoInfo(12, 54, 96, 24.0)),
    FileCase("video/opengop_cut.mkv", frames_read, (12, 2)),
    FileCase("video/transparent.mov", corners, [[4, 4, 4]] * 4),
    # Depth files: lenses in shares, odd shapes, arrays that contradict each other.
    FileCase("depth/moge_result.npz", lens, [85.6, 85.8, 40.0, 22.0]),
    FileCase("depth/depth_h_w.npy", shape, (1, 44, 80)),
    FileCase("depth/depth_h_w_1.npy", shape, (1, 44, 80)),
    *DEPTHS,
    *CAMERA_FILES,
    *COLMAP,
    *TABLES,
    *LATENTS,
    *TENSORS,
    *PLYS,
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_reader_gives_the_right_value_or_names_the_fault(row: FileCase, tmp_path: Path) -> None:
    """A reported fault that comes back."""
    path = CORPUS / row.file
    if row.make is not None:
        path = tmp_path / row.file
        row.make(path)
    if row.message is None:
        assert row.read(path) == row.value
        return
    with pytest.raises(InputError, match=row.message) as caught:
        row.read(path)
    assert path.name in str(caught.value) and "\n" not in str(caught.value)
