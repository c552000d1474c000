"""Poses and lenses in files: the npz tables of a clip, and the checks of untrusted lenses.

A clip's npz has `data` (a row per frame) and `inds` (frame numbers). Published files hold `data` as
float32 [n, 4, 4] camera-to-world or [n, 4] `fx fy cx cy` in pixels; flat poses [n, 16], matrices
[n, 3, 3] and other floating-point types are read as well.

Some programs write shares of the picture (fx / width, cy / height). No lens has a principal point
within the first two pixels and focal lengths of a few pixels: such numbers are taken for shares.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...geometry.cameras import check_poses, intrinsics_to_matrix, matrix_to_intrinsics
from ...runtime import InputError
from ..atomic import atomic_path
from ..damage import npz_names, read_npz

EXPECTED = "an npz file with the arrays data and inds"
# A skew below 1e-4 px is rounding; a larger one must not be dropped silently.
ROUNDING = 1e-4
LARGEST_SHARE, LONGEST_SHARE = 2.0, 20.0
# Focal lengths of 0.02 and 200 widths see 175 and 0.3 degrees.
FOCALS_OF_SIDE = (0.02, 200.0)
# The axis of a crop may lie far outside of it.
CENTRES_OF_SIDE = 10.0
FOCALS, CENTRES = (0.02, 1e7), 1e7
LENS_EXPECTED = "finite fx fy cx cy in pixels with positive focal lengths"
SHARES_EXPECTED = "pixels, these look like shares of the picture's width and height"


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


def from_matrices(
    path: Path, name: str, matrices: Float[Tensor, "*batch 3 3"]
) -> Float[Tensor, "*batch 4"]:
    """`fx fy cx cy` of matrices; `InputError` for matrices with more, such as skew."""
    plain = matrix_to_intrinsics(matrices)
    if not torch.allclose(intrinsics_to_matrix(plain), matrices, rtol=0, atol=ROUNDING):
        found = f"`{name}` with skew or a last row other than 0 0 1"
        raise InputError(path, found, "fx 0 cx, 0 fy cy, 0 0 1")
    return plain


def in_shares(values: Float[Tensor, "*batch 4"]) -> Bool[Tensor, "*batch"]:
    """Which lenses are in shares of the picture."""
    focal, centre = values[..., :2], values[..., 2:]
    return (focal < LONGEST_SHARE).all(-1) & (centre.abs() < LARGEST_SHARE).all(-1)


def to_pixels(
    values: Float[Tensor, "*batch 4"], height: int, width: int
) -> Float[Tensor, "*batch 4"]:
    """Lenses in shares of a picture, converted to pixels."""
    return values * values.new_tensor([width, height, width, height])


def check_lens(
    path: Path,
    name: str,
    values: Float[Tensor, "frame 4"],
    size: tuple[int, int] | None = None,
    frames: Int[Tensor, " frame"] | None = None,
) -> None:
    """Raise `InputError` with the frame (default: row) of a lens impossible for `size` (h, w)."""
    side = values.new_tensor([1.0, 1.0])
    focals, centres, expected = FOCALS, CENTRES, "a lens in pixels"
    if size is not None:
        side = values.new_tensor([size[1], size[0]])
        focals, centres = FOCALS_OF_SIDE, CENTRES_OF_SIDE
        expected = f"a lens of pictures of {size[0]}x{size[1]} pixels"
    focal, centre = values[:, :2] / side, values[:, 2:] / side
    beyond = (focal < focals[0]).any(-1) | (focal > focals[1]).any(-1)
    checks = (
        (~values.isfinite().all(-1) | (values[:, :2] <= 0).any(-1), LENS_EXPECTED),
        (in_shares(values), SHARES_EXPECTED),
        (beyond | (centre.abs() > centres).any(-1), expected),
    )
    for bad, wanted in checks:
        if bad.any():
            row = int(bad.nonzero()[0])
            frame = row if frames is None else int(frames[row])
            numbers = " ".join(f"{value:.6g}" for value in values[row].tolist())
            raise InputError(path, f"`{name}` {numbers} for frame {frame}", wanted)
