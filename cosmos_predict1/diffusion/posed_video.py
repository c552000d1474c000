"""Videos with depth and cameras in the two published layouts beside that of ViPE.

`X.pt` holds a tuple (image in [-1, 1], depth, mask, w2c, K); a folder holds `rgb.mp4`, `depth.npz`
(`depth`), `mask.npz` (`mask`) and `camera.npz` (`w2c`, `intrinsics` as 3x3 matrices). Pictures keep
their size.
"""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from src.depth.vipe import PosedDepthVideo
from src.geometry.cameras import check_poses
from src.io.video import read_video, video_header
from src.runtime import InputError

FOLDER_FILES = ("rgb.mp4", "depth.npz", "mask.npz", "camera.npz")
UNREADABLE = (pickle.UnpicklingError, RuntimeError, ValueError, TypeError, EOFError, OSError)
TUPLE = "(image [frame, 3, h, w], depth [frame, 1, h, w], mask, w2c [frame, 4, 4], K [frame, 3, 3])"


def read_posed_tensors(path: Path, fps: float) -> PosedDepthVideo:
    """The video of an `X.pt`, which has no frame rate of its own.

    Raises:
        InputError: an unreadable file, or one that holds something else.
    """
    try:
        parts: Any = torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        raise InputError(path, f"unreadable ({error})", TUPLE) from error
    if not isinstance(parts, tuple | list) or len(parts) != 5:
        raise InputError(path, type(parts).__name__, TUPLE)
    if not all(isinstance(part, Tensor) for part in parts):
        raise InputError(path, [type(part).__name__ for part in parts], TUPLE)
    return _checked(path, [part.float() for part in parts], fps)


def read_posed_folder(path: Path) -> PosedDepthVideo:
    """The video of a folder.

    Raises:
        InputError: a missing or unreadable file, arrays of other shapes.
    """
    missing = [name for name in FOLDER_FILES if not (path / name).is_file()]
    if missing:
        raise InputError(path, f"no {', '.join(missing)}", f"the files {', '.join(FOLDER_FILES)}")
    video = path / "rgb.mp4"
    image = read_video(video).permute(0, 3, 1, 2).float() / 127.5 - 1
    depth = _read_array(path / "depth.npz", "depth")
    mask = _read_array(path / "mask.npz", "mask")
    w2c, K = (_read_array(path / "camera.npz", name) for name in ("w2c", "intrinsics"))
    depth, mask = (part[:, None] if part.ndim == 3 else part for part in (depth, mask))
    return _checked(path, [image, depth, mask, w2c, K], video_header(video).fps)


def cut_frames(video: PosedDepthVideo, start: int, num_frames: int) -> PosedDepthVideo:
    """`num_frames` frames from `start` on; beyond the end, the last frame again and again."""
    index = torch.arange(start, start + num_frames).clamp(max=len(video) - 1)
    parts = (video.image, video.depth, video.mask, video.w2c, video.K)
    return PosedDepthVideo(*(part[index] for part in parts), fps=video.fps)


def _read_array(path: Path, name: str) -> Tensor:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return torch.from_numpy(arrays[name].astype(np.float32))
    except (*UNREADABLE, KeyError, zipfile.BadZipFile) as error:
        raise InputError(path, f"unreadable ({error})", f"an array {name!r}") from error


def _checked(path: Path, parts: list[Tensor], fps: float) -> PosedDepthVideo:
    """The parts as a video, their shapes and poses looked at."""
    image, depth, _, w2c, K = parts
    count, size = len(image), image.shape[2:]
    wanted = [(count, 3, *size), (count, 1, *size), (count, 1, *size), (count, 4, 4), (count, 3, 3)]
    found = [tuple(part.shape) for part in parts]
    if found != wanted or count == 0:
        raise InputError(path, f"shapes {found}", TUPLE)
    check_poses(w2c, path)
    if not (torch.isfinite(image).all() and torch.isfinite(K).all()):
        raise InputError(path, "values that are not finite", "finite pictures and cameras")
    if not (depth.isfinite() & (depth > 0)).any():
        raise InputError(path, "no pixel with a finite depth > 0", "one or more")
    return PosedDepthVideo(*parts, fps=fps)
