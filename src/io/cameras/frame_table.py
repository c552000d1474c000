"""The poses and lenses of a clip in npz tables.

A table has `data` (a row per frame) and `inds` (frame numbers). Published files hold `data` as
float32 [n, 4, 4] camera-to-world or [n, 4] `fx fy cx cy` in pixels; flat poses [n, 16], matrices
[n, 3, 3] and other floating-point types are read as well.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...geometry.cameras import check_poses
from ...runtime import InputError
from ..atomic import atomic_path
from ..damage import npz_names, read_npz
from .lens import check_lens, from_matrices

EXPECTED = "an npz file with the arrays data and inds"


@dataclass(frozen=True)
class FrameTable:
    """One row of values per frame, found by frame number; `path` is named in errors."""

    path: Path
    frames: Int[Tensor, " row"]
    values: Float[Tensor, "row ..."]

    def __len__(self) -> int:
        return len(self.frames)

    def at(self, indices: Int[Tensor, " frame"]) -> Float[Tensor, "frame ..."]:
        """The rows of the frames `indices`, exactly; `InputError` names a frame without a row."""
        rows = torch.searchsorted(self.frames, indices).clamp(max=len(self) - 1)
        missing = indices[self.frames[rows] != indices]
        if len(missing) > 0:
            first, last = self.frames[0].item(), self.frames[-1].item()
            expected = f"one of {len(self)} frames between {first} and {last}"
            raise InputError(self.path, f"no row for frame {missing[0]}", expected)
        return self.values[rows]


def read_poses(path: Path) -> FrameTable:
    """Camera-to-world poses [n, 4, 4] of a pose npz, float32; `InputError` unless all are rigid."""
    table = _read_table(path, shapes=((4, 4), (16,)))
    poses = table.values.reshape(-1, 4, 4)
    check_poses(poses, path)
    return FrameTable(path, table.frames, poses.float())


def read_intrinsics(path: Path) -> FrameTable:
    """Intrinsics [n, 4] of an npz, `fx fy cx cy` in pixels, float32; raises as `check_lens`."""
    table = _read_table(path, shapes=((4,), (3, 3)))
    values = table.values
    if values.ndim == 3:
        values = from_matrices(path, "data", values)
    check_lens(path, "data", values, frames=table.frames)
    return FrameTable(path, table.frames, values.float())


def write_frame_table(path: Path, values: Float[Tensor, "frame ..."]) -> None:
    """Write one row per frame 0 ... n-1, atomically: `data` float32, `inds` int64."""
    data = values.detach().float().cpu().contiguous().numpy()
    with atomic_path(path) as temporary:
        np.savez(temporary, data=data, inds=np.arange(len(data), dtype=np.int64))


def _read_table(path: Path, shapes: tuple[tuple[int, ...], ...]) -> FrameTable:
    arrays = read_npz(path, EXPECTED, ("data", "inds"))
    if missing := sorted({"data", "inds"} - set(arrays)):
        found = f"no array {missing[0]!r} among {npz_names(path, EXPECTED)}"
        raise InputError(path, found, EXPECTED)
    data, frames = arrays["data"], arrays["inds"]
    expected = " or ".join(f"[n, {', '.join(map(str, shape))}]" for shape in shapes)
    if data.dtype.kind != "f" or data.ndim < 1 or data.shape[1:] not in shapes or len(data) == 0:
        value = f"data {data.dtype} {list(data.shape)}"
        raise InputError(path, value, f"floating-point data {expected}, n > 0")
    if frames.dtype.kind not in "iu" or frames.shape != (len(data),):
        value = f"inds {frames.dtype} {list(frames.shape)}"
        raise InputError(path, value, f"{len(data)} integer frame numbers")
    frames = frames.astype(np.int64)
    if (np.diff(frames) <= 0).any():
        row = int(np.argmax(np.diff(frames) <= 0))
        value = f"inds {frames[row]}, {frames[row + 1]} at row {row}"
        raise InputError(path, value, "strictly increasing frame numbers")
    # Values in float64 are checked before they are rounded.
    kind = np.float64 if data.dtype.itemsize >= 8 else np.float32
    return FrameTable(path, torch.from_numpy(frames), torch.from_numpy(data.astype(kind)))
