"""Posed captures: pictures of one still scene with their cameras, in four formats.

* JSON: the schema of `src/io/cameras/file.py`, whose frames also name their `image`, or frames of
  `image`, `w2c` or `c2w`, `fx fy cx cy width height`; a frame may name a map in `depth`.
* nerfstudio's `transforms.json`, with `file_path`, and `depth_file_path` in a format of ours.
* COLMAP: `sparse/0` beside `images`, or the folder of the model itself.
* RealEstate10K: a text file with a URL, then a line for each frame: timestamp, fx fy cx cy in
  shares of the picture, two unused numbers, 12 numbers of w2c. Pictures `TIMESTAMP.png` or `.jpg`
  lie in a folder with the name of the text file.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...geometry.cameras import Cameras, nearest_rotation
from ...geometry.fit import Fit, plan_fit
from ...io.cameras.colmap import colmap_arrays, colmap_images, colmap_points
from ...io.cameras.file import read_arrays
from ...io.cameras.lens import to_pixels
from ...io.cameras.nerfstudio import is_transforms, transforms_arrays
from ...io.depth_file import SUFFIXES
from ...io.image import image_size, read_image
from ...io.json_object import read_json_object, read_text
from ...runtime import InputError, listed, natural_order

EXPECTED = (
    "a camera JSON whose frames name their `image`, a transforms.json, a COLMAP folder (sparse/0 "
    "and images), a RealEstate10K text file, or a folder with one of these"
)
LINE = "timestamp fx fy cx cy 0 0 and 12 numbers of w2c"
LINE_NUMBERS = 19
JSON_NAMES = ("cameras.json", "transforms.json")


@dataclass(frozen=True, kw_only=True)
class Capture:
    """Pictures by name, their cameras in the capture's unit, depth maps where it has them."""

    path: Path
    name: str
    names: tuple[str, ...]
    pictures: tuple[Path, ...]
    cameras: Cameras
    depth: tuple[Path | None, ...]
    # The folder of a COLMAP model, which has points.
    model: Path | None = None

    def index(self, word: str) -> int:
        """The place of a picture by its name, its name without suffix, or its number from 0."""
        paths = [Path(name) for name in self.names]
        for names in (self.names, [path.name for path in paths], [path.stem for path in paths]):
            if names.count(word) == 1:
                return names.index(word)
        if word.isdecimal() and int(word) < len(self.names):
            return int(word)
        shown = listed(list(self.names))
        raise InputError(self.path, f"no picture {word!r}", f"a number from 0, or one of {shown}")

    def digest(self, indices: Iterable[int]) -> str:
        """A SHA-256 of the pictures at `indices`, their names and their cameras."""
        total = hashlib.sha256()
        for index in indices:
            camera = self.cameras.c2w[index].tolist(), self.cameras.intrinsics[index].tolist()
            total.update(f"{self.names[index]} {camera}\n".encode())
            total.update(self.pictures[index].read_bytes())
        return total.hexdigest()

    def fit(self, size: tuple[int, int]) -> Fit:
        """The crop of the pictures to `size` (height, width)."""
        return plan_fit(self.cameras.height, self.cameras.width, size)

    def picture(self, index: int, size: tuple[int, int]) -> Float[Tensor, "3 h w"]:
        """A picture in [0, 1], cropped to `size`; `InputError` if it is unreadable."""
        picture, source = read_image(self.pictures[index]), self.fit(size).source
        if tuple(picture.shape[:2]) != source:
            value = f"{picture.shape[0]}x{picture.shape[1]} pixels when upright"
            raise InputError(self.pictures[index], value, f"{source[0]}x{source[1]}")
        return self.fit(size).resize(picture).movedim(-1, 0).float() / 255

    def placed(self, origin: int, size: tuple[int, int]) -> Cameras:
        """All cameras in the axes of picture `origin`, with the lenses of cropped pictures."""
        relative = self.cameras.relative_to(self.cameras.c2w[origin])
        lens = self.fit(size).intrinsics(relative.intrinsics)
        return replace(relative, intrinsics=lens, height=size[0], width=size[1]).to(torch.float32)

    def points(self, index: int) -> Float[Tensor, "point 3"]:
        """COLMAP's points that were seen in a picture, in the capture's axes; maybe none."""
        if self.model is None:
            return torch.zeros(0, 3)
        numbers = {image.name: image.number for image in colmap_images(self.model)}
        return colmap_points(self.model, numbers[self.names[index]])


def read_capture(path: Path) -> Capture:
    """Reads a capture and checks that every picture is there and has the size of its camera.

    Raises `InputError` for no capture, malformed cameras, two pictures of a name, fewer than two
    pictures, a missing picture, pictures and cameras of different sizes.
    """
    source = _find(path)
    if source.is_dir():
        capture = _read_colmap(source)
    elif source.suffix.lower() == ".txt":
        capture = _read_lines(source)
    else:
        capture = _read_json(source)
    if len(capture.names) < 2:
        raise InputError(path, f"{len(capture.names)} pictures", "an input and a target at least")
    if len(set(capture.names)) < len(capture.names):
        raise InputError(path, "two frames of one picture", "different pictures")
    whole = path.resolve()
    named = whole.parent if whole.suffix.lower() == ".json" else whole
    capture = replace(capture, name=named.stem if named.is_file() else named.name)
    size = (capture.cameras.height, capture.cameras.width)
    for picture in capture.pictures:
        if (found := image_size(picture)) != size:
            value = f"{found[0]}x{found[1]} pixels"
            raise InputError(picture, value, f"{size[0]}x{size[1]} as its camera says")
    return capture


def _find(path: Path) -> Path:
    """Returns the file of a capture, or the folder of its COLMAP model."""
    if path.is_file() and path.suffix.lower() in (".json", ".txt"):
        return path
    for folder in (path / "sparse" / "0", path / "sparse", path):
        if any((folder / f"images{suffix}").is_file() for suffix in (".bin", ".txt")):
            return folder
    files = [path / name for name in JSON_NAMES if (path / name).is_file()]
    found = files or (sorted(path.glob("*.txt")) if path.is_dir() else [])
    if len(found) != 1:
        value = listed([file.name for file in found]) if found else "no capture"
        raise InputError(path, value, EXPECTED)
    return found[0]


def _read_colmap(model: Path) -> Capture:
    names = [image.name for image in colmap_images(model)]
    root = next((up for up in (model, *model.parents[:2]) if (up / "images").is_dir()), None)
    if root is None:
        raise InputError(model, "no folder `images`", "`images` beside `sparse`")
    return _capture(model, names, colmap_arrays(model), folder=root / "images", model=model)


def _read_json(path: Path) -> Capture:
    values = read_json_object(path)
    frames = values.get("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(path, "no list `frames` of objects", EXPECTED)
    if not frames:
        raise InputError(path, "no pictures", EXPECTED)
    transforms = is_transforms(values)
    key, depth_key = ("file_path", "depth_file_path") if transforms else ("image", "depth")
    for number, frame in enumerate(frames):
        if not isinstance(frame.get(key), str) or not frame[key]:
            raise InputError(path, f"frame {number} without `{key}`", "the path of its picture")
        if not isinstance(frame.get(depth_key) or "", str):
            raise InputError(path, f"frame {number}: {frame[depth_key]!r}", "the path of a map")
    if transforms:
        # In the order of `transforms_arrays`.
        frames = sorted(frames, key=lambda frame: natural_order(frame[key]))
    names = [frame[key] for frame in frames]
    depth = [frame.get(depth_key) or "" for frame in frames]
    # nerfstudio's own depth maps are PNGs in thousandths of an unknown unit.
    maps = [path.parent / name if name.lower().endswith(SUFFIXES) else None for name in depth]
    if transforms:
        height, width = image_size(_picture(path.parent, names[0]))
        arrays = transforms_arrays(path, {"w": width, "h": height, **values}, None)
    else:
        arrays = _arrays(path, values)
    return replace(_capture(path, names, arrays, folder=path.parent), depth=tuple(maps))


def _arrays(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arrays of frames of ours, unchecked; all frames have one size."""
    frames = [{**values, **frame} for frame in values["frames"]]
    pose = next((key for key in ("c2w", "w2c") if key in frames[0]), "c2w")
    plain = "intrinsics" in frames[0]
    lens = ("intrinsics",) if plain else ("fx", "fy", "cx", "cy")
    for number, frame in enumerate(frames):
        if missing := [key for key in (pose, *lens, "width", "height") if key not in frame]:
            raise InputError(path, f"frame {number} without {listed(missing)}", EXPECTED)
    sizes = {str((frame["width"], frame["height"])) for frame in frames}
    if len(sizes) != 1:
        raise InputError(path, f"pictures of the sizes {sorted(sizes)[:4]}", "one size")
    rows = [frame["intrinsics"] if plain else [frame[key] for key in lens] for frame in frames]
    arrays = {pose: [frame[pose] for frame in frames], "intrinsics": rows}
    return arrays | {key: frames[0][key] for key in ("width", "height")}


def _read_lines(path: Path) -> Capture:
    """Reads a RealEstate10K file; the first picture decides the size."""
    lines = [line.split() for line in read_text(path, LINE).splitlines()[1:] if line.strip()]
    if not lines:
        raise InputError(path, "no pictures", EXPECTED)
    rows = []
    for number, (_, *words) in enumerate(lines, start=2):
        try:
            rows.append([float(word) for word in words])
        except ValueError as error:
            raise InputError(path, f"line {number}: {error}", LINE) from error
        if len(words) != LINE_NUMBERS - 1:
            raise InputError(path, f"line {number}: {len(words) + 1} numbers", LINE)
    names, folder = [line[0] for line in lines], path.with_suffix("")
    height, width = image_size(_picture(folder, names[0]))
    shares = torch.tensor([row[:4] for row in rows], dtype=torch.float64)
    poses = torch.tensor([row[6:] for row in rows], dtype=torch.float64).unflatten(1, (3, 4))
    arrays = {"intrinsics": to_pixels(shares, height, width).tolist(), "w2c": poses.tolist()}
    return _capture(path, names, arrays | {"width": width, "height": height}, folder=folder)


def _capture(
    path: Path,
    names: Sequence[str],
    arrays: dict[str, Any],
    *,
    folder: Path,
    model: Path | None = None,
) -> Capture:
    cameras = read_arrays(path, arrays, None).cameras
    # Rotations rounded to a few digits would shear the other cameras.
    c2w = cameras.c2w.clone()
    c2w[:, :3, :3] = nearest_rotation(c2w[:, :3, :3])
    return Capture(
        path=path,
        name=path.stem,
        names=tuple(names),
        pictures=tuple(_picture(folder, name) for name in names),
        cameras=replace(cameras, c2w=c2w),
        depth=(None,) * len(names),
        model=model,
    )


def _picture(folder: Path, name: str) -> Path:
    """Returns the path of a picture, whose name may lack its suffix."""
    for suffix in ("", ".png", ".jpg", ".jpeg"):
        path = folder / f"{name}{suffix}"
        if path.is_file():
            return path
    raise InputError(folder / name, "no such picture", "every picture that has a camera")
