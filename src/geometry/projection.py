"""Depth maps to world points and back.

`z` and depth are distances along the optical axis in world units; `xy` are pixels (x right,
y down). Callers choose where a pixel's centre lies: `pixel_offset` 0.5 for rendered frames, 0 for
the warps of the 3D cache.

Rotations are products and sums of elements, which keep their precision under autocast and TF32.
"""

import torch
from jaxtyping import Float
from torch import Tensor

# The published projection divides by z + 1e-7, which also keeps points at z = 0 finite.
DIVISION_EPSILON = 1e-7


def plane_coordinates(
    intrinsics: Float[Tensor, "*batch 4"], height: int, width: int, pixel_offset: float
) -> tuple[Float[Tensor, "*batch w"], Float[Tensor, "*batch h"]]:
    """Pixel columns and rows on the plane z = 1 of the camera: `(x - cx) / fx`, `(y - cy) / fy`."""
    like = {"device": intrinsics.device, "dtype": intrinsics.dtype}
    columns = torch.arange(width, **like) + pixel_offset
    rows = torch.arange(height, **like) + pixel_offset
    fx, fy, cx, cy = intrinsics[..., None].unbind(dim=-2)
    return (columns - cx) / fx, (rows - cy) / fy


def rotated_plane(
    rotation: Float[Tensor, "*batch 3 3"],
    x: Float[Tensor, "*batch w"],
    y: Float[Tensor, "*batch h"],
) -> list[Float[Tensor, "*batch h w"]]:
    """The three components of `rotation @ (x, y, 1)` for every pair of column x and row y."""
    r = rotation[..., None]
    # Separable: only one full-size addition per component.
    return [
        (r[..., k, 0, :] * x)[..., None, :] + (r[..., k, 1, :] * y + r[..., k, 2, :])[..., :, None]
        for k in range(3)
    ]


def unproject(
    depth: Float[Tensor, "*batch h w"],
    intrinsics: Float[Tensor, "*batch 4"],
    c2w: Float[Tensor, "*batch 4 4"],
    pixel_offset: float = 0.5,
) -> Float[Tensor, "*batch h w 3"]:
    """The world points of depth maps, `R (depth * K^-1 (x, y, 1)) + t`."""
    height, width = depth.shape[-2:]
    x, y = plane_coordinates(intrinsics, height, width, pixel_offset=pixel_offset)
    directions = rotated_plane(c2w[..., :3, :3], x, y)
    centre = c2w[..., :3, 3, None, None]
    points = [depth * directions[k] + centre[..., k, :, :] for k in range(3)]
    return torch.stack(points, dim=-1)


def project(
    points: Float[Tensor, "*#batch n 3"],
    intrinsics: Float[Tensor, "*#batch 4"],
    w2c: Float[Tensor, "*#batch 4 4"],
) -> tuple[Float[Tensor, "*#batch n 2"], Float[Tensor, "*#batch n"]]:
    """Pixel positions `(K X)_xy / (z + 1e-7)` and camera depths `z` of world points `X`.

    Positions of points with z <= 0, behind the camera, mean nothing. Pixel centres are where the
    intrinsics place them. Batch dimensions broadcast: one set of points serves many cameras.
    """
    px, py, pz = points.unbind(dim=-1)
    pose = w2c[..., None]
    x, y, z = (
        pose[..., k, 0, :] * px
        + pose[..., k, 1, :] * py
        + pose[..., k, 2, :] * pz
        + pose[..., k, 3, :]
        for k in range(3)
    )
    fx, fy, cx, cy = intrinsics[..., None].unbind(dim=-2)
    divisor = z + DIVISION_EPSILON
    xy = torch.stack(((fx * x + cx * z) / divisor, (fy * y + cy * z) / divisor), dim=-1)
    return xy, z
