"""Rotations as matrices and as quaternions `(w, x, y, z)`; `q` and `-q` are the same rotation."""

import torch
from jaxtyping import Float
from torch import Tensor


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
