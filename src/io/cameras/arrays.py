"""Checks of the arrays in a camera file; `file.py` describes them.

Every function takes the path for its messages, raises `InputError`, and returns float64.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...geometry.cameras import FARTHEST, Cameras, check_poses, invert_rigid
from ...runtime import InputError
from .intrinsics import check_lens, from_matrices

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
