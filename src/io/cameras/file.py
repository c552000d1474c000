"""Camera files: JSON or npz with poses (OpenCV, 4x4) and intrinsics (pixels).

The schema, written and read back without loss, is JSON:
`{"width", "height", "fps", "frames": [{"c2w": 4x4, "intrinsics": [fx, fy, cx, cy], "time"?}]}`.

A user's arrays are read from a JSON object or an npz: `c2w` or `w2c` (N x 4 x 4 or N x 3 x 4), and
`intrinsics` or `K` (4, N x 4, 3 x 3 or N x 3 x 3), with optional `width` and `height`, `fps` (24)
and `times` (N, never decreasing). Any other key is an error, so that no misspelt one is ignored.
`nerfstudio.py` reads a transforms.json, `colmap.py` a folder.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...geometry.cameras import Cameras
from ...geometry.rotations import nearest_rotation
from ...geometry.trajectories import poses_relative_to_first, resample_intrinsics, resample_poses
from ...runtime import InputError
from ..atomic import write_text
from ..damage import check_file
from ..json_object import read_json_object
from ..numpy_file import npz_names, read_npz
from .arrays import ARRAY_KEYS, CameraFile, read_arrays, refuse_unknown
from .colmap import colmap_arrays
from .nerfstudio import is_transforms, transforms_arrays

EXPECTED = "a camera file (.json or .npz), or the folder of a COLMAP model"
SCHEMA_KEYS = {"width", "height", "fps", "frames"}
FRAME_KEYS = {"c2w", "intrinsics", "time"}


def read_camera_file(path: Path | str, size: tuple[int, int] | None = None) -> CameraFile:
    """The cameras in a JSON or npz file, or a COLMAP model, in float32.

    `size` (width, height) is the picture size of a file that names none; without either the file is
    refused. Raises `InputError` for a missing or malformed file, unknown keys, wrong shapes and
    counts, non-rigid poses, focal lengths that are not positive, decreasing times.
    """
    contents = _parse(Path(path), size)
    times = None if contents.times is None else contents.times.float()
    return CameraFile(contents.cameras.to(torch.float32), contents.fps, times)


def trajectory_from_file(path: Path | str, num_frames: int, width: int, height: int) -> Cameras:
    """A user's trajectory as `num_frames` cameras of `width` x `height` pixels (float32).

    Frame 0 is the input image and the origin: its pose is exactly the identity, the others are
    relative to it. The unit of translation is the depth at the centre of the input image. Poses and
    intrinsics are resampled at equal steps between the file's first and last, by its times if it
    has any. Intrinsics scale with the picture size, axis by axis; without a size in the file they
    are for `width` x `height` already. Raises as `read_camera_file`, and for one pose or equal
    times.
    """
    contents = _parse(Path(path), (width, height))
    cameras, times = contents.cameras, contents.times
    if len(cameras) < 2:
        raise InputError(path, "1 pose", "a trajectory of at least 2 poses")
    if times is not None and not (times.diff() > 0).all():
        raise InputError(path, f"times {times.tolist()}", "strictly increasing times, or none")
    # Rotations rounded to four decimals would jump between the exact frame 0 and frame 1.
    poses = cameras.c2w.clone()
    poses[:, :3, :3] = nearest_rotation(poses[:, :3, :3])
    c2w = resample_poses(poses_relative_to_first(poses), num_frames, times)
    intrinsics = resample_intrinsics(cameras.intrinsics, num_frames, times)
    sampled = replace(cameras, c2w=c2w, intrinsics=intrinsics)
    return sampled.resized(width, height).to(torch.float32)


def write_camera_file(path: Path | str, contents: CameraFile) -> None:
    """Write the JSON schema atomically, one frame a line; values read back exactly in float32."""
    cameras = contents.cameras
    assert cameras.c2w.ndim == 3 and len(cameras) > 0, f"poses of shape {cameras.c2w.shape}"
    columns = {"c2w": cameras.c2w, "intrinsics": cameras.intrinsics}
    if contents.times is not None:
        columns["time"] = contents.times
    rows = zip(*(_digits(column.float().tolist()) for column in columns.values()), strict=True)
    frames = [dict(zip(columns, row, strict=True)) for row in rows]
    head = {"width": cameras.width, "height": cameras.height, "fps": contents.fps}
    lines = ",\n".join(json.dumps(frame, allow_nan=False) for frame in frames)
    text = json.dumps(head, allow_nan=False)[:-1] + f', "frames": [\n{lines}\n]}}\n'
    write_text(path, text)


def _digits(value: Any) -> Any:
    """Numbers, in nested lists, with the nine digits that distinguish any two float32."""
    if isinstance(value, list):
        return [_digits(part) for part in value]
    return float(f"{value:.9g}")


def _parse(path: Path, size: tuple[int, int] | None) -> CameraFile:
    """The checked contents of a file in float64, poses as `c2w`."""
    suffix = path.suffix.lower()
    if path.is_dir():
        return read_arrays(path, colmap_arrays(path), size)
    check_file(path, EXPECTED)
    if suffix not in (".json", ".npz"):
        raise InputError(path, f"suffix {path.suffix!r}", EXPECTED)
    if suffix == ".npz":
        expected = "an npz archive without pickled arrays"
        refuse_unknown(path, "", set(npz_names(path, expected)), known=ARRAY_KEYS)
        return read_arrays(path, dict(read_npz(path, expected)), size)
    values = read_json_object(path)
    if is_transforms(values):
        values = transforms_arrays(path, values, size)
    elif "frames" in values:
        values = _columns(path, values)
    return read_arrays(path, values, size)


def _columns(path: Path, values: dict[str, Any]) -> dict[str, Any]:
    """The frames of the schema as one list per array."""
    refuse_unknown(path, "", set(values), known=SCHEMA_KEYS)
    frames = values.pop("frames")
    if not isinstance(frames, list) or not all(isinstance(frame, dict) for frame in frames):
        raise InputError(path, "malformed `frames`", "a list of objects")
    timed = any("time" in frame for frame in frames)
    required = FRAME_KEYS if timed else FRAME_KEYS - {"time"}
    for index, frame in enumerate(frames):
        refuse_unknown(path, f"frame {index} with ", set(frame), known=FRAME_KEYS)
        if missing := sorted(required - set(frame)):
            raise InputError(path, f"frame {index} without {missing}", f"keys {sorted(required)}")
    columns = {"c2w": "c2w", "intrinsics": "intrinsics"} | ({"times": "time"} if timed else {})
    return values | {name: [frame[key] for frame in frames] for name, key in columns.items()}
