"""A COLMAP model for further optimisation: cameras, pictures, the Gaussians as points.

The model is binary: COLMAP 3.12 and later make the rigs and frames that are not there themselves.
"""

import struct
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..gaussians import Gaussians
from ..geometry.cameras import Cameras, invert_rigid, matrix_to_quaternion
from ..io.atomic import atomic_path
from ..io.cameras.file import read_camera_file
from ..io.image import round_to_uint8, write_png
from ..io.scene import SplatScene
from ..io.video.video import iterate_video, video_header
from ..runtime import InputError

EXPECTED = "an output folder of sample.py, with cameras and renderings: COLMAP needs pictures"
PINHOLE = 1
COUNT, CAMERA, POSE = struct.Struct("<Q"), struct.Struct("<IiQQ4d"), struct.Struct("<I7dI")
# No picture lists the points that it sees, and no point the pictures that see it.
POINT = np.dtype(
    [("number", "<u8"), ("place", "<f8", 3), ("color", "u1", 3), ("error", "<f8"), ("seen", "<u8")]
)


def write_colmap(folder: Path, scene: SplatScene) -> None:
    """Writes `images/*.png` and `sparse/0/{cameras,images,points3D}.bin` of a still scene.

    Pictures are the renderings of `sample.py` at its cameras; axes stay OpenCV's, as COLMAP's are.
    Raises `InputError` for several moments; a scene without cameras or renderings.
    """
    gaussians, *others = scene.moments
    if others:
        raise InputError("colmap", f"{len(scene.moments)} moments", "a scene of one moment")
    if scene.results is None or not (scene.results / "cameras.json").is_file():
        raise InputError("colmap", "a scene without cameras", EXPECTED)
    cameras = read_camera_file(scene.results / "cameras.json").cameras
    names = _write_pictures(folder / "images", scene.results, len(cameras))
    sparse = folder / "sparse" / "0"
    _write(sparse / "cameras.bin", len(cameras), _lenses(cameras))
    _write(sparse / "images.bin", len(cameras), _images(cameras.c2w, names))
    _write(sparse / "points3D.bin", len(gaussians), _points(gaussians))


def _write_pictures(folder: Path, results: Path, count: int) -> list[str]:
    """Writes the frames of all trajectories in the order of cameras.json; returns their names."""
    index, names = results.name, []
    position = 0
    while len(names) < count:
        video = results.parents[1] / f"raw/rgb_{index}_view_idx_{position}.mp4"
        if not video.is_file():
            raise InputError(video, f"{len(names)} pictures for {count} cameras", EXPECTED)
        for number, frame in iterate_video(video, range(video_header(video).num_frames)):
            names.append(f"{position}_{number:04d}.png")
            write_png(folder / names[-1], frame)
        position += 1
    return names


def _lenses(cameras: Cameras) -> bytes:
    size = (cameras.width, cameras.height)
    lenses = enumerate(cameras.intrinsics.tolist(), start=1)
    rows = [(number, PINHOLE, *size, *lens) for number, lens in lenses]
    return b"".join(CAMERA.pack(*row) for row in rows)


def _images(c2w: Float[Tensor, "frame 4 4"], names: list[str]) -> bytes:
    w2c = invert_rigid(c2w.double())
    poses = torch.cat([matrix_to_quaternion(w2c[:, :3, :3]), w2c[:, :3, 3]], dim=1).tolist()
    numbered = enumerate(zip(poses, names, strict=True), start=1)
    rows = [((number, *pose, number), name.encode("ascii")) for number, (pose, name) in numbered]
    return b"".join(POSE.pack(*row) + name + b"\0" + COUNT.pack(0) for row, name in rows)


def _points(gaussians: Gaussians) -> bytes:
    rows = np.zeros(len(gaussians), POINT)
    rows["number"] = np.arange(1, len(rows) + 1)
    rows["place"], rows["color"] = gaussians.means, round_to_uint8(gaussians.colors)
    return rows.tobytes()


def _write(path: Path, count: int, rows: bytes) -> None:
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        file.write(COUNT.pack(count))
        file.write(rows)
