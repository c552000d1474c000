"""A COLMAP model in text, for further optimisation: cameras, pictures, the Gaussians as points."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ..gaussians import Gaussians
from ..geometry.cameras import invert_rigid, matrix_to_quaternion
from ..io.atomic import atomic_path
from ..io.cameras.file import CameraFile, read_camera_file
from ..io.image.image import write_png
from ..io.image.pixels import round_to_uint8
from ..io.ply.scene import SplatScene
from ..io.video.video import iterate_video, video_header
from ..runtime import InputError

EXPECTED = "an output folder of sample.py, with cameras and renderings: COLMAP needs pictures"


def write_colmap(folder: Path, scene: SplatScene) -> None:
    """Writes `images/*.png` and `sparse/0/{cameras,images,points3D}.txt` of a still scene.

    Pictures are the renderings of `sample.py` at its cameras; axes stay OpenCV's, as COLMAP's are.

    Raises:
        InputError: several moments; a scene without cameras or renderings.
    """
    gaussians, *others = scene.moments
    if others:
        raise InputError("colmap", f"{len(scene.moments)} moments", "a scene of one moment")
    if scene.results is None or not (scene.results / "cameras.json").is_file():
        raise InputError("colmap", "a scene without cameras", EXPECTED)
    cameras = read_camera_file(scene.results / "cameras.json")
    names = _write_pictures(folder / "images", scene.results, len(cameras.cameras))
    sparse = folder / "sparse" / "0"
    _write(sparse / "cameras.txt", _camera_lines(cameras))
    _write(sparse / "images.txt", _image_lines(cameras.cameras.c2w, names))
    _write(sparse / "points3D.txt", _point_lines(gaussians))


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


def _camera_lines(file: CameraFile) -> list[str]:
    cameras = file.cameras
    return [
        f"{number} PINHOLE {cameras.width} {cameras.height} {_text(lens)}"
        for number, lens in enumerate(cameras.intrinsics, start=1)
    ]


def _image_lines(c2w: Float[Tensor, "frame 4 4"], names: list[str]) -> list[str]:
    w2c = invert_rigid(c2w)
    quats, shifts = matrix_to_quaternion(w2c[:, :3, :3]), w2c[:, :3, 3]
    lines = []
    for number, name in enumerate(names, start=1):
        pose = torch.cat([quats[number - 1], shifts[number - 1]])
        # The second line lists points that were seen; there are none.
        lines += [f"{number} {_text(pose)} {number} {name}", ""]
    return lines


def _point_lines(gaussians: Gaussians) -> list[str]:
    colors = round_to_uint8(gaussians.colors).tolist()
    points = enumerate(zip(gaussians.means, colors, strict=True), start=1)
    return [f"{number} {_text(mean)} {r} {g} {b} 0" for number, (mean, (r, g, b)) in points]


def _text(values: Tensor) -> str:
    return " ".join(f"{value:.9g}" for value in values.tolist())


def _write(path: Path, lines: list[str]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n", encoding="ascii")
