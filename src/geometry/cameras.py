"""Pinhole cameras and rotations.

Notation of the whole project: OpenCV axes (x right, y down, z forward). `c2w` maps camera to world
and `w2c` world to camera, both 4x4 rigid. `intrinsics` are `fx fy cx cy` in pixels, `K` their 3x3
matrix. A rendered or decoded pixel (row j, column i) has its centre at `(i + 0.5, j + 0.5)`; the
warps of the 3D cache are the exception, there it lies at `(i, j)` (see `warping.py`). Quaternions
are `(w, x, y, z)`; `q` and `-q` are the same rotation.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..runtime import InputError
from .fit import plan_fit

RIGID_TOLERANCE = 1e-3
# Beyond, a distance is damage: it is in the unit of the scene's depth.
FARTHEST = 1e9


def compose(
    left: Float[Tensor, "*#batch i j"], right: Float[Tensor, "*#batch j k"]
) -> Float[Tensor, "*#batch i k"]:
    """The products `left @ right` of small matrices, in the full precision of their type.

    Under autocast or TF32, `@` has only 8 to 11 bits on CUDA: too few for poses.
    """
    return (left[..., :, :, None] * right[..., None, :, :]).sum(dim=-2)


def invert_rigid(pose: Float[Tensor, "*batch 4 4"]) -> Float[Tensor, "*batch 4 4"]:
    """The inverse of rigid 4x4 transforms; exact to rounding for poses that pass `check_poses`."""
    rotation, translation = pose[..., :3, :3], pose[..., :3, 3:]
    inverse = torch.zeros_like(pose)
    inverse[..., :3, :3] = rotation.mT
    inverse[..., :3, 3:] = -compose(rotation.mT, translation)
    inverse[..., 3, 3] = 1
    return inverse


def quaternion_to_matrix(quaternion: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotation matrices of quaternions of any length; NaN for the length 0."""
    unit = torch.nn.functional.normalize(quaternion, dim=-1, eps=0.0)
    w, x, y, z = unit.unbind(dim=-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def matrix_to_quaternion(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Unit quaternions with w >= 0 of rotation matrices, well-conditioned at every angle."""
    m = matrix
    xx, yy, zz = m[..., 0, 0], m[..., 1, 1], m[..., 2, 2]
    wx, xw = m[..., 2, 1] - m[..., 1, 2], m[..., 1, 0] + m[..., 0, 1]
    wy, xz = m[..., 0, 2] - m[..., 2, 0], m[..., 0, 2] + m[..., 2, 0]
    wz, yz = m[..., 1, 0] - m[..., 0, 1], m[..., 2, 1] + m[..., 1, 2]
    # The rows of 4 q q^T are multiples of q. The one with the largest diagonal entry (at least 1)
    # divides by nothing small.
    rows = (
        (1 + xx + yy + zz, wx, wy, wz),
        (wx, 1 + xx - yy - zz, xw, xz),
        (wy, xw, 1 - xx + yy - zz, yz),
        (wz, xz, yz, 1 - xx - yy + zz),
    )
    outer = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)
    largest = outer.diagonal(dim1=-2, dim2=-1).argmax(dim=-1)
    index = largest[..., None, None].expand(*largest.shape, 1, 4)
    quaternion = torch.nn.functional.normalize(outer.gather(-2, index)[..., 0, :], dim=-1)
    return torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def nearest_rotation(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 3 3"]:
    """The rotations nearest to nearly orthonormal, right-handed matrices (polar decomposition)."""
    left, _, right = torch.linalg.svd(matrix)
    return left @ right


def turn_fraction(
    rotation: Float[Tensor, "*batch 3 3"], fraction: Float[Tensor, "*batch"]
) -> Float[Tensor, "*batch 3 3"]:
    """Spherical interpolation from the identity (0) to `rotation` (1), along the shortest arc.

    At half a turn both arcs are equally short and one is taken.
    """
    quaternion = matrix_to_quaternion(rotation)
    w, axis = quaternion[..., 0], quaternion[..., 1:]
    sine = torch.linalg.vector_norm(axis, dim=-1)
    half = fraction * torch.atan2(sine, w)
    # Equal rotations have no axis: the tiny divisor leaves it zero.
    scale = torch.sin(half) / sine.clamp_min(torch.finfo(sine.dtype).tiny)
    parts = (torch.cos(half)[..., None], scale[..., None] * axis)
    return quaternion_to_matrix(torch.cat(parts, dim=-1))


def intrinsics_to_matrix(intrinsics: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """`fx fy cx cy` as matrices `K`."""
    matrix = intrinsics.new_zeros(*intrinsics.shape[:-1], 3, 3)
    matrix[..., 0, 0], matrix[..., 1, 1] = intrinsics[..., 0], intrinsics[..., 1]
    matrix[..., 0, 2], matrix[..., 1, 2] = intrinsics[..., 2], intrinsics[..., 3]
    matrix[..., 2, 2] = 1
    return matrix


def matrix_to_intrinsics(matrix: Float[Tensor, "*batch 3 3"]) -> Float[Tensor, "*batch 4"]:
    """Matrices `K` as `fx fy cx cy`; their skew is dropped."""
    parts = (matrix[..., 0, 0], matrix[..., 1, 1], matrix[..., 0, 2], matrix[..., 1, 2])
    return torch.stack(parts, dim=-1)


def check_poses(pose: Float[Tensor, "*batch 4 4"], source: object) -> None:
    """Raises `InputError` with `source` unless every pose is finite, rigid and right-handed.

    Rotations may be off orthonormal by 1e-3 (files with four decimals), the last row by 1e-6.
    """
    if not torch.isfinite(pose).all():
        bad = (~torch.isfinite(pose.reshape(-1, 16)).all(dim=1)).nonzero()[0].item()
        raise InputError(source, f"a non-finite pose at index {bad}", "finite 4x4 poses")
    rotation = pose[..., :3, :3].double()
    identity = torch.eye(3, dtype=torch.float64, device=pose.device)
    error = (rotation @ rotation.mT - identity).abs().amax(dim=(-2, -1))
    determinant = torch.linalg.det(rotation)
    last_row = pose[..., 3, :] - torch.tensor([0, 0, 0, 1], dtype=pose.dtype, device=pose.device)
    bad = (error > RIGID_TOLERANCE) | (determinant < 0) | (last_row.abs().amax(-1) > 1e-6)
    if bad.any():
        index = int(bad.reshape(-1).nonzero()[0])
        value = pose.reshape(-1, 4, 4)[index].tolist()
        raise InputError(source, f"pose {index} = {value}", "a rigid, invertible 4x4 pose")


@dataclass(frozen=True)
class Cameras:
    """Cameras of one picture size: poses and intrinsics."""

    c2w: Float[Tensor, "*batch 4 4"]
    intrinsics: Float[Tensor, "*batch 4"]
    width: int
    height: int

    def __len__(self) -> int:
        return self.c2w.shape[0]

    @property
    def w2c(self) -> Float[Tensor, "*batch 4 4"]:
        """World-to-camera poses."""
        return invert_rigid(self.c2w)

    @property
    def K(self) -> Float[Tensor, "*batch 3 3"]:
        """Intrinsic matrices, in pixels."""
        return intrinsics_to_matrix(self.intrinsics)

    def __getitem__(self, index: int | slice | Int[Tensor, " kept"]) -> "Cameras":
        """Cameras at `index` of the first batch dimension."""
        return replace(self, c2w=self.c2w[index], intrinsics=self.intrinsics[index])

    def to(self, target: torch.device | torch.dtype | str) -> "Cameras":
        """The same cameras on another device or in another floating-point type."""
        return replace(self, c2w=self.c2w.to(target), intrinsics=self.intrinsics.to(target))

    def resized(self, width: int, height: int) -> "Cameras":
        """The same cameras at another picture size; intrinsics scale with it, axis by axis."""
        fit = plan_fit(self.height, self.width, (height, width), mode="stretch")
        intrinsics = fit.intrinsics(self.intrinsics)
        return replace(self, intrinsics=intrinsics, width=width, height=height)

    def relative_to(self, reference: Float[Tensor, "4 4"]) -> "Cameras":
        """The same cameras in the axes of the camera with camera-to-world pose `reference`."""
        return replace(self, c2w=compose(invert_rigid(reference), self.c2w))

    @staticmethod
    def stack(parts: "Sequence[Cameras]") -> "Cameras":
        """Cameras of equal shape and picture size along a new first dimension."""
        return Cameras.concatenate(
            [replace(each, c2w=each.c2w[None], intrinsics=each.intrinsics[None]) for each in parts]
        )

    @staticmethod
    def concatenate(parts: "Sequence[Cameras]") -> "Cameras":
        """All cameras of `parts`, of equal picture size, along the first dimension."""
        sizes = {(part.width, part.height) for part in parts}
        assert len(sizes) == 1, f"cameras of one picture size expected, got {sorted(sizes)}"
        c2w = torch.cat([part.c2w for part in parts])
        intrinsics = torch.cat([part.intrinsics for part in parts])
        return replace(parts[0], c2w=c2w, intrinsics=intrinsics)
