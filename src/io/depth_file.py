"""Depth maps of a user: .npz, .npy, .exr, or a zip of .exr (see `clip/depth.py`).

An .npz holds `depth` [h, w] or [frame, h, w], with one channel or none, and may hold `intrinsics`
(fx fy cx cy) or `K`, one or one a frame, in pixels of the depth map or in shares of it. Depth is
z-depth; values that are not finite and positive are unknown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..runtime import InputError
from .cameras.intrinsics import check_lens, from_matrices, in_shares, to_pixels
from .clip.depth import CHANNEL, EXR_DAMAGES, read_depth_archive, read_exr
from .damage import check_file
from .numpy_file import npz_names, read_npy, read_npz

SUFFIXES = (".npz", ".npy", ".exr", ".zip")
EXPECTED = "depth as [h, w], [frame, h, w] or [frame, 1, h, w]"
LENSES = ("intrinsics", "K")
LENS_EXPECTED = "fx fy cx cy or a 3x3 matrix, one or one a frame"
LEAST_ROWS, LEAST_COLUMNS = 2, 5
# Two arrays of one lens may be rounded differently.
AGREEMENT = 1e-3


@dataclass(frozen=True)
class StoredDepth:
    """Depth maps, and the intrinsics of each in pixels if the file has them."""

    depth: Float[Tensor, "frame h w"]
    intrinsics: Float[Tensor, "frame 4"] | None = None


def read_depth_file(path: Path | str, frames: Sequence[int] | None = None) -> StoredDepth:
    """The depth maps of `frames` (all by default) in a file, float32.

    Raises `InputError` for an unreadable file, an unknown suffix, an array of another shape, a
    missing frame, and maps without a known depth.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    check_file(path, f"a depth file ({', '.join(SUFFIXES)})")
    if suffix not in SUFFIXES:
        raise InputError(path, f"the suffix {path.suffix!r}", f"one of {', '.join(SUFFIXES)}")
    if suffix == ".zip":
        stored = StoredDepth(read_depth_archive(path, frames))
    else:
        whole = StoredDepth(_read_exr(path)[None]) if suffix == ".exr" else _read_numpy(path)
        stored = _select(path, whole, frames)
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
    if path.suffix.lower() == ".npy":
        arrays = {"depth": read_npy(path, EXPECTED)}
    else:
        arrays = read_npz(path, EXPECTED, ("depth", *LENSES))
    if "depth" not in arrays:
        names = npz_names(path, EXPECTED)
        raise InputError(path, f"the arrays {names}", "an array called depth")
    array = _maps(arrays["depth"])
    if array is None or arrays["depth"].dtype.kind not in "fiu":
        value = f"depth {arrays['depth'].dtype} of shape {arrays['depth'].shape}"
        raise InputError(path, value, EXPECTED)
    with np.errstate(over="ignore"):
        depth = torch.from_numpy(array.astype(np.float32))
    return StoredDepth(depth, _intrinsics(path, arrays, depth))


def _maps(array: Shaped[np.ndarray, "*shape"]) -> Shaped[np.ndarray, "frame h w"] | None:
    """An array as depth maps; None for another shape."""
    if array.ndim in (3, 4) and array.shape[-1] == 1:
        array = array[..., 0]
    elif array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or len(array) == 0:
        return None
    # Few columns are colours, and one row is another layout.
    _, rows, columns = array.shape
    return array if rows >= LEAST_ROWS and columns >= LEAST_COLUMNS else None


def _intrinsics(
    path: Path, arrays: Mapping[str, np.ndarray], depth: Float[Tensor, "frame h w"]
) -> Float[Tensor, "frame 4"] | None:
    """Intrinsics of every frame, from either array; None without them."""
    present = [name for name in LENSES if name in arrays]
    found = {name: _lens(path, name, arrays[name], depth=depth) for name in present}
    if not found:
        return None
    values = list(found.values())
    if not torch.allclose(values[0], values[-1], rtol=AGREEMENT, atol=AGREEMENT):
        raise InputError(path, f"{' and '.join(found)} that differ", "one lens")
    return values[0]


def _lens(
    path: Path, name: str, array: np.ndarray, depth: Float[Tensor, "frame h w"]
) -> Float[Tensor, "frame 4"]:
    """The lens of every frame in pixels of the maps."""
    count, height, width = depth.shape
    if array.dtype.kind not in "fiu":
        raise InputError(path, f"{name} of type {array.dtype}", LENS_EXPECTED)
    with np.errstate(over="ignore"):
        values = torch.from_numpy(array.astype(np.float32))
    if values.ndim >= 2 and values.shape[-2:] == (3, 3):
        values = from_matrices(path, name, values)
    if values.ndim == 1:
        values = values[None]
    if values.ndim != 2 or values.shape[1] != 4 or len(values) not in (1, count):
        raise InputError(path, f"{name} of shape {array.shape}", LENS_EXPECTED)
    # MoGe writes shares of the map's size.
    shares = in_shares(values)[:, None]
    values = to_pixels(values, height, width).where(shares, values)
    check_lens(path, name, values, size=(height, width))
    return values.expand(count, 4)


def _read_exr(path: Path) -> Float[Tensor, "h w"]:
    """The channel Z, or the only channel."""
    try:
        channels = read_exr(str(path))
    except EXR_DAMAGES as error:
        raise InputError(path, f"unreadable ({error})", "an EXR picture") from error
    if CHANNEL not in channels and len(channels) != 1:
        raise InputError(path, f"channels {sorted(channels)}", f"{CHANNEL}, or one alone")
    return torch.from_numpy(channels.get(CHANNEL, next(iter(channels.values()))))
