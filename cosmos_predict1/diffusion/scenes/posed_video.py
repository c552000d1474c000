"""Videos that bring depth and cameras, in the two published layouts beside that of ViPE.

`X.pt` holds a tuple (image in [-1, 1], depth, mask, w2c, K); a folder holds `rgb.mp4`, `depth.npz`
(`depth`), `mask.npz` (`mask`) and `camera.npz` (`w2c`, `intrinsics` as 3x3 matrices). Pictures keep
their size.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from src.checkpoints.archive import read_objects
from src.depth.backends.vipe import PosedDepthVideo
from src.geometry.cameras import FARTHEST, check_poses
from src.io.cameras.lens import check_lens, from_matrices
from src.io.damage import read_npz
from src.io.video.video import read_video, video_header
from src.runtime import InputError

FOLDER_FILES = ("rgb.mp4", "depth.npz", "mask.npz", "camera.npz")
# How far the pictures may exceed [-1, 1]: bytes that were scaled in half precision.
ROUNDING = 0.01
TUPLE = "(image [frame, 3, h, w], depth [frame, 1, h, w], mask, w2c [frame, 4, 4], K [frame, 3, 3])"


def video_kind(path: Path) -> str:
    """Returns the kind of a moving scene's path: `vipe`, `tensors`, `folder` or plain `video`."""
    if path.is_dir():
        return "folder" if (path / FOLDER_FILES[0]).is_file() else "vipe"
    if path.suffix == ".pt":
        return "tensors"
    beside = path.parent.parent / "pose" / f"{path.stem}.npz"
    return "vipe" if path.parent.name == "rgb" and beside.is_file() else "video"


def read_posed_tensors(path: Path, fps: float) -> PosedDepthVideo:
    """Reads the video of an `X.pt`, which has no frame rate of its own.

    Raises:
        InputError: an unreadable file, or one with other contents.
    """
    parts = read_objects(path, TUPLE, checksums=True)
    if not isinstance(parts, tuple | list) or len(parts) != 5:
        raise InputError(path, type(parts).__name__, TUPLE)
    if not all(isinstance(part, Tensor) for part in parts):
        raise InputError(path, [type(part).__name__ for part in parts], TUPLE)
    return _checked(path, list(parts), fps)


def read_posed_folder(path: Path) -> PosedDepthVideo:
    """Reads the video of a folder.

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
    """Returns `num_frames` frames from `start` on; the last frame repeats beyond the end."""
    index = torch.arange(start, start + num_frames).clamp(max=len(video) - 1)
    return PosedDepthVideo(
        image=video.image[index],
        depth=video.depth[index],
        mask=video.mask[index],
        w2c=video.w2c[index],
        K=video.K[index],
        fps=video.fps,
    )


def _read_array(path: Path, name: str) -> Tensor:
    arrays = read_npz(path, f"an array {name!r}", (name,))
    if name not in arrays or arrays[name].dtype.kind not in "buif":
        found = arrays[name].dtype if name in arrays else f"no array {name!r}"
        raise InputError(path, found, f"an array {name!r} of numbers")
    with np.errstate(over="ignore"):
        return torch.from_numpy(arrays[name].astype(np.float32))


def _checked(path: Path, parts: list[Tensor], fps: float) -> PosedDepthVideo:
    """Check the shapes and values of the parts; returns the video."""
    image = parts[0]
    count, size = (len(image), tuple(image.shape[2:])) if image.ndim == 4 else (0, (0, 0))
    wanted = [(count, 3, *size), (count, 1, *size), (count, 1, *size), (count, 4, 4), (count, 3, 3)]
    found = [tuple(part.shape) for part in parts]
    if found != wanted or count == 0 or min(size) == 0:
        raise InputError(path, f"shapes {str(found)[:200]}", TUPLE)
    if any(part.is_complex() for part in parts):
        raise InputError(path, "complex numbers", TUPLE)
    image, depth, mask, w2c, K = (part.float() for part in parts)
    check_poses(w2c, path)
    if w2c[:, :3, 3].abs().amax() > FARTHEST:
        raise InputError(path, "poses far from any scene", f"translations up to {FARTHEST:g}")
    if not (image.isfinite().all() and mask.isfinite().all()):
        raise InputError(path, "values that are not finite", "finite pictures and masks")
    if image.abs().amax() > 1 + ROUNDING:
        raise InputError(path, f"pictures up to {image.abs().amax():.3g}", "values in [-1, 1]")
    check_lens(path, "intrinsics", from_matrices(path, "intrinsics", K), (size[0], size[1]))
    if not (depth.isfinite() & (depth > 0)).any():
        raise InputError(path, "no pixel with a finite depth > 0", "one or more")
    return PosedDepthVideo(image=image, depth=depth, mask=mask, w2c=w2c, K=K, fps=fps)
