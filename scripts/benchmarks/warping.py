"""Warping one picture to all cameras of a trajectory, with and without foreground masking."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from src.geometry.occlusion import HALVES, boundary_mesh
from src.geometry.trajectories import TrajectorySpec, make_trajectory
from src.geometry.warping import OCCLUSION_MARGIN, PointFrames, Warp, point_frames, warp_frames

from .row import Row, peak_memory, reset_peak, seconds

# Frames, height, width, budget in seconds and in GiB.
SIZES = {"cpu": (17, 176, 320, 3.0, 1.4), "cuda": (121, 704, 1280, 2.0, 7.4)}
PIXELS_PER_STEP = 2**14


def scene(height: int, width: int, device: torch.device) -> tuple[PointFrames, Tensor]:
    """Returns a wall, a floor and 24 boxes at random before them, and intrinsics."""
    generator = torch.Generator().manual_seed(0)
    y = torch.linspace(-1, 1, height)[:, None]
    x = torch.linspace(-1, 1, width)[None]
    depth = torch.minimum(3 + 0.5 * x, 0.7 / y.clamp_min(1e-3))
    for column, row, half_width, half_height, z in torch.rand(24, 5, generator=generator).tolist():
        wide = (x - 2 * column + 1).abs() < 0.02 + 0.1 * half_width
        tall = (y - 2 * row + 1).abs() < 0.05 + 0.2 * half_height
        depth = torch.minimum(depth, torch.where(wide & tall, 0.8 + 1.2 * z, torch.inf))
    image = 2 * torch.rand(1, 3, height, width, generator=generator) - 1
    intrinsics = torch.tensor([[0.8 * width, 0.8 * width, width / 2, height / 2]], device=device)
    w2c = torch.eye(4, device=device)[None]
    frames = point_frames(image.to(device), depth[None].to(device), intrinsics, w2c)
    return frames, intrinsics


def warp_by_ray_tests(frames: PointFrames, intrinsics: Tensor, w2c: Tensor) -> Warp:
    """The peer: the same splats, but all rays of a frame are tested with all triangles."""
    assert frames.boundary is not None
    warp = warp_frames(replace(frames, boundary=None), intrinsics, w2c)
    mesh = boundary_mesh(frames.points, frames.boundary)
    _, row, column = mesh.quads.nonzero(as_tuple=True)
    quads = torch.stack(
        [mesh.vertices[0, row + down, column + right] for down in (0, 1) for right in (0, 1)], dim=1
    )
    corners = quads[:, HALVES].flatten(0, 1)
    height, width = warp.mask.shape[1:]
    fx, fy, cx, cy = intrinsics[0]
    y, x = torch.meshgrid(
        torch.arange(height, device=row.device),
        torch.arange(width, device=row.device),
        indexing="ij",
    )
    rays = torch.stack(((x - cx) / fx, (y - cy) / fy, torch.ones_like(fx).expand_as(x)), dim=-1)
    rays = rays.flatten(0, 1)
    for index, pose in enumerate(w2c):
        nearest = [
            _ray_test(part, corners @ pose[:3, :3].mT + pose[:3, 3])
            for part in rays.split(PIXELS_PER_STEP)
        ]
        z = torch.cat(nearest).view(height, width)
        warp.mask[index] &= z + OCCLUSION_MARGIN >= warp.depth[index]
    return warp


def _ray_test(rays: Tensor, corners: Tensor) -> Tensor:
    """Returns the depth of each ray's nearest triangle (Moeller and Trumbore), inf without one."""
    a, ab, ac = corners[:, 0], corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    # The three scalar triple products of ray and triangle, as products of matrices.
    normal, beta, gamma = (torch.linalg.cross(*pair) for pair in ((ab, ac), (ac, a), (a, ab)))
    det = rays @ normal.mT
    u, v = rays @ beta.mT / det, rays @ gamma.mT / det
    z = (a * normal).sum(dim=-1) / det
    hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (z > 0)
    return z.where(hit, torch.inf).amin(dim=1)


@torch.inference_mode()
def run(device: torch.device) -> Iterator[Row]:
    """Yields time and peak memory of a whole trajectory, and of two frames beside ray tests."""
    count, height, width, budget, memory_budget = SIZES[device.type]
    frames, intrinsics = scene(height, width, device)
    w2c = make_trajectory(TrajectorySpec("left", 0.3), count).to(device)
    intrinsics = intrinsics.expand(count, 4)
    bare = replace(frames, boundary=None)
    size = f"{count} x {height} x {width}"
    reset_peak(device)
    plain = seconds(partial(warp_frames, bare, intrinsics, w2c))
    yield Row(f"splatting {size}", plain, budget=budget)
    masked = seconds(partial(warp_frames, frames, intrinsics, w2c))
    yield Row(f"with foreground masking {size}", masked, budget=budget)
    yield peak_memory(f"peak memory {size}", device, memory_budget)
    intrinsics, w2c = intrinsics[-2:], w2c[-2:]
    ours = seconds(partial(warp_frames, frames, intrinsics, w2c))
    theirs = seconds(partial(warp_by_ray_tests, frames, intrinsics, w2c), repeats=1)
    name = f"with foreground masking, the last two frames {height} x {width}"
    yield Row(name, ours, peer=("every ray with every triangle", theirs))
