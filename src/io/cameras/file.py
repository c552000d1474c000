"""Camera files: JSON or npz with poses (OpenCV, 4x4) and intrinsics (pixels).

The schema, written and read back without loss, is JSON:
`{"width", "height", "fps", "frames": [{"c2w": 4x4, "intrinsics": [fx, fy, cx, cy], "time"?}]}`.

A user's arrays are read from a JSON object or an npz: `c2w` or `w2c` (N x 4 x 4 or N x 3 x 4), and
`intrinsics` or `K` (4, N x 4, 3 x 3 or N x 3 x 3), with optional `width` and `height`, `fps` (24)
and `times` (N, never decreasing). Any other key is an error, so that no misspelt one is ignored.
`nerfstudio.py` reads a transforms.json, `colmap.py` a folder.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...geometry.cameras import FARTHEST, Cameras, check_poses, invert_rigid, nearest_rotation
from ...geometry.trajectories import poses_relative_to_first, resample_intrinsics, resample_poses
from ...runtime import InputError
from ..atomic import write_text
from ..damage import check_file, npz_names, read_npz
from ..json_object import read_json_object
from .colmap import colmap_arrays
from .lens import check_lens, from_matrices
from .nerfstudio import is_transforms, transforms_arrays

EXPECTED = "a camera file (.json or .npz), or the folder of a COLMAP model"
SCHEMA_KEYS = {"width", "height", "fps", "frames"}
FRAME_KEYS = {"c2w", "intrinsics", "time"}
POSE_KEYS, INTRINSICS_KEYS = ("c2w", "w2c"), ("intrinsics", "K")
# Larger numbers are damage.
WIDEST, FASTEST, LATEST = 65536.0, 1000.0, 1e9
DEFAULT_FPS = 24.0
ARRAY_KEYS = {*POSE_KEYS, *INTRINSICS_KEYS, "width", "height", "fps", "times"}


@dataclass(frozen=True)
class CameraFile:
    """The cameras of a clip, its frame rate, and when each frame is (None: at equal steps)."""

    cameras: Cameras
    fps: float
    times: Float[Tensor, " frame"] | None = None


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


def read_arrays(path: Path, values: dict[str, Any], size: tuple[int, int] | None) -> CameraFile:
    """The checked cameras of a file's arrays; `size` (width, height) is used if it has none."""
    refuse_unknown(path, "", set(values), known=ARRAY_KEYS)
    c2w = _poses(path, values)
    intrinsics = _intrinsics(path, values, len(c2w))
    width, height = _size(path, values, size)
    if "width" in values:
        check_lens(path, "intrinsics", intrinsics, size=(height, width))
    fps = _scalar(path, "fps", values.get("fps", DEFAULT_FPS), most=FASTEST)
    times = _times(path, values, len(c2w))
    return CameraFile(Cameras(c2w, intrinsics, width=width, height=height), fps, times)


def refuse_unknown(path: Path, where: str, found: set[str], known: set[str]) -> None:
    """Raise for keys of `found` that are not `known`; `where` begins the message."""
    if unknown := sorted(found - known):
        raise InputError(path, f"{where}{unknown}", f"keys among {sorted(known)}")


def _numbers(path: Path, name: str, value: Any) -> Float[Tensor, "*shape"]:
    """`value` as float64, if it is a regular array of finite numbers."""
    if isinstance(value, list) and _has_boolean(value):
        raise InputError(path, f"`{name}` with true or false in it", "an array of numbers")
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError, RecursionError) as error:
        raise InputError(path, f"`{name}` of uneven length", "a regular array") from error
    if array.dtype.kind not in "iuf":
        raise InputError(path, f"`{name}` of type {array.dtype}", "an array of numbers")
    # Cameras are used in float32, so every value must be finite there.
    with np.errstate(over="ignore"):
        bad = np.argwhere(~np.isfinite(array.astype(np.float32)))
    if len(bad):
        found = f"`{name}` {array[tuple(bad[0])]} at index {bad[0].tolist()}"
        raise InputError(path, found, "finite numbers")
    return torch.from_numpy(array.astype(np.float64))


def _has_boolean(value: Any) -> bool:
    """Whether nested lists hold a boolean, which numpy would take for 0 or 1."""
    if isinstance(value, list):
        return any(_has_boolean(part) for part in value)
    return isinstance(value, bool)


def _one_of(
    path: Path, values: dict[str, Any], keys: tuple[str, str]
) -> tuple[str, Float[Tensor, "*shape"]]:
    """The key among `keys` that the file has, and its array."""
    present = [key for key in keys if key in values]
    if len(present) != 1:
        found = f"both `{keys[0]}` and `{keys[1]}`" if present else f"keys {sorted(values)}"
        raise InputError(path, found, f"either `{keys[0]}` or `{keys[1]}`")
    return present[0], _numbers(path, present[0], values[present[0]])


def _poses(path: Path, values: dict[str, Any]) -> Float[Tensor, "frame 4 4"]:
    """Rigid camera-to-world poses from `c2w` or `w2c`, whichever is there."""
    key, poses = _one_of(path, values, POSE_KEYS)
    if poses.ndim != 3 or poses.shape[1:] not in ((4, 4), (3, 4)) or len(poses) == 0:
        expected = "at least one pose, N x 4 x 4 or N x 3 x 4"
        raise InputError(path, f"`{key}` of shape {tuple(poses.shape)}", expected)
    if poses.shape[1] == 3:
        last = poses.new_tensor([0, 0, 0, 1]).expand(len(poses), 1, 4)
        poses = torch.cat([poses, last], dim=1)
    check_poses(poses, f"{path}: {key}")
    farthest = poses[:, :3, 3].abs().amax()
    if farthest > FARTHEST:
        value = f"`{key}` with a translation of {farthest:.3g}"
        raise InputError(path, value, f"translations up to {FARTHEST:g}")
    return poses if key == "c2w" else invert_rigid(poses)


def _intrinsics(path: Path, values: dict[str, Any], count: int) -> Float[Tensor, "frame 4"]:
    """`fx fy cx cy` of `count` frames from `intrinsics` or `K`, in any of their four shapes."""
    key, value = _one_of(path, values, INTRINSICS_KEYS)
    # Four numbers or a matrix, for all frames or for each.
    if value.ndim >= 2 and value.shape[-2:] == (3, 3):
        value = from_matrices(path, key, value)
    if value.ndim == 1:
        value = value.expand(count, *value.shape)
    if value.shape != (count, 4):
        expected = f"4, {count} x 4, 3 x 3 or {count} x 3 x 3 for {count} poses"
        raise InputError(path, f"`{key}` of shape {tuple(value.shape)}", expected)
    check_lens(path, key, value)
    return value.clone()


def _scalar(path: Path, name: str, value: Any, most: float) -> float:
    """One number > 0 and up to `most`."""
    number = _numbers(path, name, value)
    if number.ndim != 0 or not number > 0:
        raise InputError(path, f"`{name}` {str(value)[:80]}", "one number > 0")
    if number > most or number < 1 / most:
        raise InputError(path, f"`{name}` {float(number):g}", f"between {1 / most:g} and {most:g}")
    return float(number)


def _size(path: Path, values: dict[str, Any], default: tuple[int, int] | None) -> tuple[int, int]:
    """(width, height) in pixels; `default` where the file has neither."""
    present = [name for name in ("width", "height") if name in values]
    if not present and default is not None:
        return default
    if len(present) != 2:
        raise InputError(path, f"keys {sorted(values)}", "`width` and `height`")
    width, height = (_scalar(path, name, values[name], most=WIDEST) for name in present)
    if not (width.is_integer() and height.is_integer()):
        raise InputError(path, f"{width} x {height}", "a whole number of pixels")
    return int(width), int(height)


def _times(path: Path, values: dict[str, Any], count: int) -> Float[Tensor, " frame"] | None:
    """The times of `count` frames, which never decrease; None where the file has none."""
    if "times" not in values:
        return None
    times = _numbers(path, "times", values["times"])
    if times.shape != (count,):
        value = f"`times` of shape {tuple(times.shape)}"
        raise InputError(path, value, f"one time for each of {count} poses")
    if times.abs().amax() > LATEST:
        raise InputError(path, f"times up to {times.abs().amax():.3g}", f"seconds below {LATEST:g}")
    if not (times.diff() >= 0).all():
        raise InputError(path, f"times {times.tolist()}", "times that never decrease")
    return times
