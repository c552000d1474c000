"""Depth maps on disk: the archive of a clip, and a user's .npz, .npy, .exr or such an archive.

An archive is a zip of `%05d.exr`, one half-float channel `Z` per frame. Half floats reach 65504:
larger finite values are written as +-65504; infinite and NaN values stay.
An .npz holds `depth` [h, w] or [frame, h, w], with one channel or none, and may hold `intrinsics`
(fx fy cx cy) or `K`, one or one a frame, in pixels of the depth map or in shares of it. Depth is
z-depth; values that are not finite and positive are unknown.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from ..runtime import InputError
from .cameras.lens import check_lens, from_matrices, in_shares, to_pixels
from .clip.packed import as_path
from .damage import (
    check_file,
    npz_names,
    open_archive,
    read_member,
    read_npy,
    read_npz,
    write_archive,
)

SUFFIXES = (".npz", ".npy", ".exr", ".zip")
EXPECTED = "depth as [h, w], [frame, h, w] or [frame, 1, h, w]"
LENSES = ("intrinsics", "K")
LENS_EXPECTED = "fx fy cx cy or a 3x3 matrix, one or one a frame"
LEAST_ROWS, LEAST_COLUMNS = 2, 5
# Two arrays of one lens may be rounded differently.
AGREEMENT = 1e-3
CHANNEL = "Z"
SUFFIX = ".exr"
HALF_MAX = 65504.0
# OpenEXR's binding turns every C++ exception into a RuntimeError.
EXR_DAMAGES = (RuntimeError, ValueError)
# Frame numbers of more digits are damage.
LONGEST_NUMBER = 9


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


def write_depth_archive(path: Path | str, depth: Float[Tensor, "frame h w"]) -> None:
    """Write depth maps of the frames 0 ... n-1 atomically, rounded to half floats."""
    named = ((f"{index:05d}{SUFFIX}", _encode(frame)) for index, frame in enumerate(depth.detach()))
    write_archive(Path(path), named)


def read_depth_archive(
    path: Path | str, indices: Sequence[int] | None = None
) -> Float[Tensor, "frame h w"]:
    """The depth maps of the frames `indices` (any order, repeats allowed), or of all, as float32.

    Raises `InputError` for damage, a missing frame or channel `Z`, pictures of different sizes.
    """
    path = as_path(path)
    indices = _all_frames(path) if indices is None else list(indices)
    unique = sorted(set(indices))
    frames = dict(zip(unique, iterate_depth(path, unique), strict=True))
    sizes = {tuple(frame.shape) for frame in frames.values()}
    if len(sizes) != 1:
        raise InputError(path, f"depth maps of sizes {sorted(sizes)}", "one size in an archive")
    return torch.stack([frames[index] for index in indices])


def iterate_depth(path: Path | str, indices: Sequence[int]) -> Iterator[Float[Tensor, "h w"]]:
    """Yield the depth map of each frame in `indices` as float32."""
    path = as_path(path)
    for index, content in zip(indices, read_members(path, SUFFIX, indices), strict=True):
        yield torch.from_numpy(_decode(path, index, content))


def count(path: Path | str) -> int:
    """The number of depth maps in an archive."""
    return len(list_frames(as_path(path), SUFFIX))


def _all_frames(path: Path) -> list[int]:
    frames = list_frames(path, SUFFIX)
    if frames != list(range(len(frames))) or not frames:
        value = f"{len(frames)} depth maps, the last of frame {frames[-1] if frames else None}"
        raise InputError(path, value, "one depth map for each frame from 0 on")
    return frames


def _encode(depth: Float[Tensor, "h w"]) -> bytes:
    import OpenEXR

    finite = torch.isfinite(depth)
    depth = torch.where(finite, depth.clamp(-HALF_MAX, HALF_MAX), depth)
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    channels = {CHANNEL: depth.half().cpu().contiguous().numpy()}
    content = io.BytesIO()
    OpenEXR.File(header, channels, 1).write(content)
    return content.getvalue()


def _decode(path: Path, index: int, content: bytes) -> np.ndarray:
    expected = f"an EXR picture with the channel {CHANNEL}"
    try:
        channels = read_exr(io.BytesIO(content))
    except EXR_DAMAGES as error:
        value = f"an unreadable picture for frame {index} ({error})"
        raise InputError(path, value, expected) from error
    if CHANNEL not in channels:
        raise InputError(path, f"channels {sorted(channels)} for frame {index}", expected)
    return channels[CHANNEL]


def read_exr(source: str | io.BytesIO) -> dict[str, Float[np.ndarray, "h w"]]:
    """The channels of an EXR picture in float32; raises `EXR_DAMAGES`."""
    import OpenEXR

    channels = OpenEXR.File(source, separate_channels=True).channels()
    return {name: channel.pixels.astype(np.float32) for name, channel in channels.items()}


def list_frames(path: Path, suffix: str) -> list[int]:
    """The frame numbers in an archive, ascending."""
    with open_archive(path, _expected(suffix)) as archive:
        stems = [name.removesuffix(suffix) for name in archive.namelist() if name.endswith(suffix)]
    sized = [stem for stem in stems if 5 <= len(stem) <= LONGEST_NUMBER]
    return sorted(int(stem) for stem in sized if stem.isascii() and stem.isdecimal())


def read_members(path: Path, suffix: str, indices: Sequence[int]) -> Iterator[bytes]:
    """Yield the content of each frame in `indices`; `InputError` for damage or a missing frame."""
    with open_archive(path, _expected(suffix)) as archive:
        for index in indices:
            name = f"{index:05d}{suffix}"
            try:
                yield read_member(path, archive, name, expected="a whole archive")
            except KeyError as error:
                expected = f"one file for each frame, up to {len(archive.namelist())} in all"
                raise InputError(path, f"no member {name} for frame {index}", expected) from error


def _expected(suffix: str) -> str:
    return f"a zip archive of %05d{suffix} files"
