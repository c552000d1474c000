"""Depth maps on disk: a zip of `%05d.exr`, one half-float channel `Z` per frame, z-depth.

Half floats reach 65504. Larger finite values are written as +-65504; infinite and NaN values stay
(readers take non-finite and non-positive depth for "unknown").
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ...runtime import InputError
from .frames import list_frames, read_members, write_members
from .packed import as_path

CHANNEL = "Z"
SUFFIX = ".exr"
HALF_MAX = 65504.0
# OpenEXR's binding turns every C++ exception into a RuntimeError.
EXR_DAMAGES = (RuntimeError, ValueError)


def write_depth_archive(path: Path | str, depth: Float[Tensor, "frame h w"]) -> None:
    """Write depth maps of the frames 0 ... n-1 atomically, rounded to half floats."""
    write_members(Path(path), SUFFIX, (_encode(frame) for frame in depth.detach()))


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
