"""The lenses of untrusted files: `fx fy cx cy`, checked.

Some programs write shares of the picture (fx / width, cy / height). No lens has a principal point
within the first two pixels and focal lengths of a few pixels: such numbers are taken for shares.
"""

from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ...geometry.cameras import intrinsics_to_matrix, matrix_to_intrinsics
from ...runtime import InputError

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
