"""Cameras of a COLMAP model: a folder with `cameras` and `images`, both .bin or both .txt.

Poses are world-to-camera with OpenCV axes, a quaternion (w first) and a translation; pixel centres
are ours. Images are sorted by name, numbers in numeric order. Only lenses without distortion are
read: the generator's pictures have none.
"""

import math
import mmap
import struct
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from ...geometry.cameras import quaternion_to_matrix
from ...runtime import InputError, natural_order

EXPECTED = "the folder of a COLMAP model: cameras and images, as .bin or .txt (such as sparse/0)"
# Name and number of parameters of each model.
MODELS = {
    0: ("SIMPLE_PINHOLE", 3),
    1: ("PINHOLE", 4),
    2: ("SIMPLE_RADIAL", 4),
    3: ("RADIAL", 5),
    4: ("OPENCV", 8),
    5: ("OPENCV_FISHEYE", 8),
    6: ("FULL_OPENCV", 12),
    7: ("FOV", 5),
    8: ("SIMPLE_RADIAL_FISHEYE", 4),
    9: ("RADIAL_FISHEYE", 5),
    10: ("THIN_PRISM_FISHEYE", 12),
    11: ("RAD_TAN_THIN_PRISM_FISHEYE", 16),
}
PARAMETERS = dict(MODELS.values())
UNDISTORT = (
    "PINHOLE or SIMPLE_PINHOLE, as it is after `colmap image_undistorter "
    "--image_path IMAGES --input_path {folder} --output_path NEW` in NEW/sparse"
)
COUNT, CAMERA, POSE = struct.Struct("<Q"), struct.Struct("<IiQQ"), struct.Struct("<I7dI")
# The number of a 3D point, its place, its colour, its error, the length of its track.
POINT = struct.Struct("<Q3d3BdQ")
# A quaternion and a translation.
POSE_NUMBERS = 7
# A point in an image: x, y, and the number of its 3D point.
POINT_BYTES = 24
# COLMAP writes quaternions of length 1; a larger difference is damage.
LENGTH_TOLERANCE = 0.01


class ColmapLens(NamedTuple):
    """A camera of the model: its kind, the size of its pictures, its parameters."""

    model: str
    width: int
    height: int
    parameters: tuple[float, ...]


class Image(NamedTuple):
    """A picture: its name, its pose (qw qx qy qz tx ty tz), its camera's and its own number."""

    name: str
    pose: tuple[float, ...]
    camera: int
    number: int


def colmap_arrays(folder: Path) -> dict[str, Any]:
    """The unchecked arrays of a camera file; `InputError` for a distorted lens, several sizes."""
    images = colmap_images(folder)
    suffix = _suffix(folder)
    path = folder / f"images{suffix}"
    parse = _binary_lenses if suffix == ".bin" else _text_lenses
    lenses = dict(_read(folder / f"cameras{suffix}", parse))
    used = [_lens_of(path, image, lenses) for image in images]
    sizes = {(lens.width, lens.height) for lens in used}
    if len(sizes) != 1:
        raise InputError(folder, f"pictures of the sizes {sorted(sizes)[:4]}", "one size")
    (size,) = sizes
    return {
        "w2c": [_matrix(path, image) for image in images],
        # One focal length or two, then the centre.
        "intrinsics": [[lens.parameters[0], *lens.parameters[-3:]] for lens in used],
        "width": size[0],
        "height": size[1],
    }


def colmap_images(folder: Path) -> list[Image]:
    """The pictures of a model in the order of `colmap_arrays`; `InputError` without any."""
    suffix = _suffix(folder)
    path = folder / f"images{suffix}"
    images = _read(path, _binary_images if suffix == ".bin" else _text_images)
    if not images:
        raise InputError(path, "no images", EXPECTED)
    return sorted(images, key=lambda image: natural_order(image.name))


def colmap_points(folder: Path, image: int) -> Float[Tensor, "point 3"]:
    """The 3D points whose tracks name the picture of that number; empty without `points3D`."""
    binary, text = folder / "points3D.bin", folder / "points3D.txt"
    points: list[tuple[float, ...]] = []
    if binary.is_file():
        points = _read(binary, lambda path: _binary_points(path, image))
    elif text.is_file():
        points = _read(text, lambda path: _text_points(path, image))
    return torch.tensor(points, dtype=torch.float64).reshape(-1, 3)


def _suffix(folder: Path) -> str:
    suffix = next((end for end in (".bin", ".txt") if (folder / f"images{end}").is_file()), None)
    if suffix is None or not (folder / f"cameras{suffix}").is_file():
        raise InputError(folder, "a folder without cameras and images", EXPECTED)
    return suffix


def _read(path: Path, parse: Callable[[Path], Iterator[Any]]) -> list[Any]:
    try:
        return list(parse(path))
    except InputError:
        raise
    except (ValueError, LookupError, OSError, OverflowError, struct.error) as error:
        raise InputError(path, f"unreadable ({error})"[:200], EXPECTED) from error


def _binary_lenses(path: Path) -> Iterator[tuple[int, ColmapLens]]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        (count,), at = COUNT.unpack_from(content), COUNT.size
        for _ in range(count):
            number, model, width, height = CAMERA.unpack_from(content, at)
            name, parameters = MODELS.get(model, (f"number {model}", 0))
            if not parameters:
                raise InputError(path, f"a camera of the model {name}", f"one of {[*PARAMETERS]}")
            numbers = struct.Struct(f"<{parameters}d")
            values = numbers.unpack_from(content, at + CAMERA.size)
            yield number, ColmapLens(name, width, height, parameters=values)
            at += CAMERA.size + numbers.size
        _check_end(path, at, len(content))


def _binary_images(path: Path) -> Iterator[Image]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        (count,), at = COUNT.unpack_from(content), COUNT.size
        for _ in range(count):
            number, *pose, camera = POSE.unpack_from(content, at)
            end = content.find(b"\0", at + POSE.size)
            if end < 0:
                raise ValueError("a name without an end")
            name = content[at + POSE.size : end].decode(errors="replace")
            (points,) = COUNT.unpack_from(content, end + 1)
            at = end + 1 + COUNT.size + points * POINT_BYTES
            yield Image(name, tuple(pose), camera, number=number)
        _check_end(path, at, len(content))


def _check_end(path: Path, at: int, size: int) -> None:
    if at != size:
        raise InputError(path, f"{size} bytes", f"{at} bytes, by its contents")


def _text_lenses(path: Path) -> Iterator[tuple[int, ColmapLens]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                number, model, width, height, *texts = line.split()
                parameters = tuple(map(float, texts))
                if len(parameters) != PARAMETERS.get(model, len(parameters)):
                    expected = f"the {PARAMETERS[model]} parameters of {model}"
                    raise InputError(path, f"{len(parameters)} in `{line.strip()[:80]}`", expected)
                yield int(number), ColmapLens(model, int(width), int(height), parameters=parameters)


def _text_images(path: Path) -> Iterator[Image]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                number, *pose, camera, name = line.rstrip("\r\n").split(maxsplit=9)
                if len(pose) != POSE_NUMBERS:
                    raise ValueError(f"{len(pose)} numbers of a pose in `{line.strip()[:80]}`")
                # The line of the image's points follows; it may be empty.
                next(lines, "")
                values = tuple(map(float, pose))
                yield Image(name, values, int(camera), number=int(number))


def _binary_points(path: Path, image: int) -> Iterator[tuple[float, ...]]:
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        (count,), at = COUNT.unpack_from(content), COUNT.size
        for _ in range(count):
            _, *place, _, _, _, _, length = POINT.unpack_from(content, at)
            at += POINT.size
            track = struct.unpack_from(f"<{2 * length}I", content, at)
            at += 8 * length
            if image in track[::2]:
                yield tuple(place)
        _check_end(path, at, len(content))


def _text_points(path: Path, image: int) -> Iterator[tuple[float, ...]]:
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                _, x, y, z, _, _, _, _, *track = line.split()
                if image in map(int, track[::2]):
                    yield float(x), float(y), float(z)


def _lens_of(path: Path, image: Image, lenses: Mapping[int, ColmapLens]) -> ColmapLens:
    lens = lenses.get(image.camera)
    if lens is None:
        value = f"camera {image.camera} of {image.name[:80]!r}"
        raise InputError(path, value, f"one of the {len(lenses)} cameras beside it")
    if lens.model not in ("PINHOLE", "SIMPLE_PINHOLE"):
        found = f"camera {image.camera} of the model {lens.model[:40]}, whose lens is distorted"
        raise InputError(path.parent, found, UNDISTORT.format(folder=path.parent))
    return lens


def _matrix(path: Path, image: Image) -> list[list[float]]:
    quaternion, translation = image.pose[:4], image.pose[4:]
    length = math.hypot(*quaternion)
    if not abs(length - 1) < LENGTH_TOLERANCE:
        raise InputError(path, f"a quaternion of length {length:g} of {image.name[:80]!r}", "1")
    rows = quaternion_to_matrix(torch.tensor(quaternion, dtype=torch.float64)).tolist()
    return [[*row, shift] for row, shift in zip(rows, translation, strict=True)]
