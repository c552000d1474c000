"""Depth maps to world points and back; rays through pixel centres and their Pluecker coordinates.

`z` and depth are distances along the optical axis in world units; `xy` are pixels (x right,
y down). Callers choose where a pixel's centre lies: `pixel_offset` 0.5 for rendered frames, 0 for
the warps of the 3D cache. Rays go through `(i + 0.5, j + 0.5)` of pixel (row j, column i).
Rotations are products and sums of elements, which keep their precision under autocast and TF32.

Notation: `d` is the unit direction of a ray in world axes, `o` the camera centre, a Pluecker vector
is `(o x d, d)`, moment first.

`precision="fp32"` computes in the cameras' float32 or float64 and returns float32, under autocast
too. `precision="parity"` returns bfloat16: the published order of operations, every result rounded,
which is off by up to 4.5 pixels on a 1280 pixel wide frame. Each rounding is written out, so that
CPU and GPU agree to the bit.
"""

from dataclasses import replace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from .cameras import Cameras

# The published projection divides by z + 1e-7, which also keeps points at z = 0 finite.
DIVISION_EPSILON = 1e-7
Precision = Literal["fp32", "parity"]


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


def camera_rays(
    cameras: Cameras, precision: Precision = "fp32"
) -> tuple[Float[Tensor, "*batch 3 h w"], Float[Tensor, "*batch 3 h w"]]:
    """Origins and unit directions, in world axes, of the rays through all pixel centres.

    The origins are an expanded tensor: one centre per camera in memory.
    """
    dtype = cameras.intrinsics.dtype
    assert dtype in (torch.float32, torch.float64), f"cameras of float32 or better, got {dtype}"
    directions = _parity_directions(cameras) if precision == "parity" else _directions(cameras)
    centres = cameras.c2w[..., :3, 3].to(directions.dtype)
    return centres[..., None, None].expand(directions.shape), directions


def pluecker(cameras: Cameras, precision: Precision = "fp32") -> Float[Tensor, "*batch 6 h w"]:
    """Pluecker coordinates `(o x d, d)` of the rays through all pixel centres, in world units."""
    origins, directions = camera_rays(cameras, precision)
    ox, oy, oz = origins.unbind(dim=-3)
    dx, dy, dz = directions.unbind(dim=-3)
    # In bfloat16 both products and the difference are rounded, as published; a fused cross product
    # (one rounding) would differ by 3e-3.
    moment = (oy * dz - oz * dy, oz * dx - ox * dz, ox * dy - oy * dx)
    return torch.stack((*moment, dx, dy, dz), dim=-3)


def coarse_rays(
    cameras: Cameras, factor: int = 8, precision: Precision = "fp32"
) -> tuple[Float[Tensor, "*batch 3 h w"], Float[Tensor, "*batch 3 h w"]]:
    """Origins and unit directions of the rays through the middles of `factor` x `factor` pixels."""
    width, height = cameras.width, cameras.height
    assert width % factor == 0 and height % factor == 0, f"{width}x{height} not in {factor}s"
    intrinsics = cameras.intrinsics
    if precision == "parity":
        intrinsics = _round(intrinsics)
    coarse = replace(
        cameras, intrinsics=intrinsics / factor, width=width // factor, height=height // factor
    )
    return camera_rays(coarse, precision)


def _directions(cameras: Cameras) -> Float[Tensor, "*batch 3 h w"]:
    """Unit directions in float32."""
    x, y = plane_coordinates(cameras.intrinsics, cameras.height, cameras.width, pixel_offset=0.5)
    # Rotations keep the norm.
    norm = torch.sqrt((x * x)[..., None, :] + (y * y)[..., :, None] + 1)
    components = rotated_plane(cameras.c2w[..., :3, :3], x, y)
    return torch.stack([part / norm for part in components], dim=-3).float()


def _parity_directions(cameras: Cameras) -> Float[Tensor, "*batch 3 h w"]:
    """Directions in the published bfloat16 order: each `_round` is one rounding of the original.

    Arithmetic is float32, in which products of two bfloat16 are exact; the norm and the rotation
    round once, after their sums.
    """
    fx, fy, cx, cy = _round(cameras.intrinsics)[..., None].unbind(dim=-2)
    device = cameras.intrinsics.device
    x = _round(_round(parity_centres(cameras.width, device) - cx) / fx)[..., None, :]
    y = _round(_round(parity_centres(cameras.height, device) - cy) / fy)[..., :, None]
    norm = _round(torch.sqrt(x * x + y * y + 1))
    dx, dy, dz = _round(x / norm), _round(y / norm), _round(1 / norm)
    rotation = _round(cameras.c2w[..., :3, :3])[..., None, None]
    components = [
        rotation[..., k, 0, :, :] * dx
        + rotation[..., k, 1, :, :] * dy
        + rotation[..., k, 2, :, :] * dz
        for k in range(3)
    ]
    return torch.stack(components, dim=-3).to(torch.bfloat16)


def parity_centres(size: int, device: torch.device | str) -> Float[Tensor, " size"]:
    """Pixel centres along one axis of the published bfloat16 code on a GPU, as float32.

    `linspace(0, size - 1, size)` in bfloat16 counts its first half up from 0 and its second half
    down from the rounded end. From 128 on the `+ 0.5` is lost, from 256 on neighbours are equal.
    """
    index = torch.arange(size, device=device, dtype=torch.float32)
    last = _round(index.new_tensor(size - 1.0))
    ascending = _round(index)
    descending = _round(last - _round(size - 1 - index))
    return _round(torch.where(index < size / 2, ascending, descending) + 0.5)


def _round(value: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """`value` rounded to bfloat16, kept in float32."""
    return value.to(torch.bfloat16).to(torch.float32)
