"""Depth maps that a user brings: .npz, .npy, .exr, or a zip of .exr (see `depth_archive.py`).

An .npz holds `depth` [h, w], [frame, h, w] or [frame, 1, h, w] and may hold `intrinsics` (fx fy cx
cy, in pixels of the depth map) or `K`, one or one a frame. Depth is z-depth; what is not finite
and positive is unknown.
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..geometry.cameras import matrix_to_intrinsics
from ..runtime import InputError
from .depth_archive import CHANNEL, read_depth_archive

SUFFIXES = (".npz", ".npy", ".exr", ".zip")
EXPECTED = "depth as [h, w], [frame, h, w] or [frame, 1, h, w]"


@dataclass(frozen=True)
class StoredDepth:
    """Depth maps, and the intrinsics of each in its pixels where the file knows them."""

    depth: Float[Tensor, "frame h w"]
    intrinsics: Float[Tensor, "frame 4"] | None = None


def read_depth_file(path: Path | str, frames: Sequence[int] | None = None) -> StoredDepth:
    """The depth maps of `frames` (all by default) in a file, float32.

    Raises:
        InputError: no such file, an unknown suffix, an unreadable file, an array of another shape,
            a frame that the file lacks, no pixel with a depth.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(path, "no such file", f"a depth file ({', '.join(SUFFIXES)})")
    suffix = path.suffix.lower()
    if suffix == ".zip":
        stored = StoredDepth(read_depth_archive(path, frames))
    elif suffix == ".exr":
        stored = _select(path, StoredDepth(_read_exr(path)[None]), frames)
    elif suffix in (".npz", ".npy"):
        stored = _select(path, _read_numpy(path), frames)
    else:
        raise InputError(path, f"the suffix {path.suffix!r}", f"one of {', '.join(SUFFIXES)}")
    known = stored.depth.isfinite() & (stored.depth > 0)
    if not known.any():
        raise InputError(path, "no pixel with a finite depth > 0", "one or more")
    return stored


def _select(path: Path, stored: StoredDepth, frames: Sequence[int] | None) -> StoredDepth:
    if frames is None:
        return stored
    count = len(stored.depth)
    beyond = [index for index in frames if not 0 <= index < count]
    if beyond:
        raise InputError(path, f"no frame {beyond[0]}", f"frames below {count}")
    chosen = list(frames)
    intrinsics = None if stored.intrinsics is None else stored.intrinsics[chosen]
    return StoredDepth(stored.depth[chosen], intrinsics)


def _read_numpy(path: Path) -> StoredDepth:
    arrays: dict[str, np.ndarray]
    try:
        loaded = np.load(path, allow_pickle=False)
        arrays = {"depth": loaded} if isinstance(loaded, np.ndarray) else dict(loaded)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(path, f"unreadable ({error})", EXPECTED) from error
    if "depth" not in arrays:
        raise InputError(path, f"the arrays {sorted(arrays)}", "an array called depth")
    array = arrays["depth"]
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or array.size == 0 or array.dtype.kind not in "fiu":
        raise InputError(path, f"depth {array.dtype} of shape {array.shape}", EXPECTED)
    depth = torch.from_numpy(array.astype(np.float32))
    return StoredDepth(depth, _intrinsics(path, arrays, len(depth)))


def _intrinsics(
    path: Path, arrays: dict[str, np.ndarray], count: int
) -> Float[Tensor, "frame 4"] | None:
    """Intrinsics of every frame, from either array; None where there is none."""
    name = next((name for name in ("intrinsics", "K") if name in arrays), None)
    if name is None:
        return None
    values = torch.from_numpy(arrays[name].astype(np.float32))
    if values.shape[-2:] == (3, 3):
        values = matrix_to_intrinsics(values)
    if values.ndim == 1:
        values = values[None]
    if values.ndim != 2 or values.shape[1] != 4 or len(values) not in (1, count):
        value = f"{name} of shape {arrays[name].shape}"
        raise InputError(path, value, "fx fy cx cy or a 3x3 matrix, one or one a frame")
    return values.expand(count, 4)


def _read_exr(path: Path) -> Float[Tensor, "h w"]:
    """The channel Z, or the only channel there is."""
    import OpenEXR

    try:
        channels = OpenEXR.File(str(path), separate_channels=True).channels()
    # OpenEXR's binding turns every C++ exception into a RuntimeError.
    except (RuntimeError, ValueError) as error:
        raise InputError(path, f"unreadable ({error})", "an EXR picture") from error
    if CHANNEL not in channels and len(channels) != 1:
        raise InputError(path, f"channels {sorted(channels)}", f"{CHANNEL}, or one alone")
    channel = channels[CHANNEL] if CHANNEL in channels else next(iter(channels.values()))
    return torch.from_numpy(channel.pixels.astype(np.float32))
