"""Clips of procedural worlds, rendered into the memory of a device for trainings without files.

A pool is `[world, trajectory, frame]`; frame i of n shows a dynamic world at the time i / (n - 1).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor

from src.depth.estimate import DepthEstimate
from src.geometry.cameras import Cameras
from src.io.image import round_to_uint8
from src.runtime import InputError, get_logger

from .rendering.render import render_worlds
from .scene import World, Worlds, assemble, world_cameras

LOGGER = get_logger(__name__)
# Clips that are rendered at once: each takes about 12 MB beside the pool at 17 x 176 x 320.
CLIPS_AT_ONCE = 32


@dataclass(frozen=True)
class WorldFilms:
    """Frames of worlds with their depth; all cameras of a world have one lens."""

    color: UInt8[Tensor, "world frame h w 3"]
    depth: Float[Tensor, "world frame h w"]
    intrinsics: Float[Tensor, "world 4"]

    def depths(self, world: int) -> list[DepthEstimate]:
        """Returns a world's own depth of each frame; every pixel has one."""
        known = torch.ones_like(self.depth[world, 0], dtype=torch.bool)
        lens = self.intrinsics[world]
        return [DepthEstimate(depth, known, lens) for depth in self.depth[world]]


def film_worlds(
    worlds: Worlds,
    c2w: Float[Tensor, "world frame 4 4"],
    times: Float[Tensor, " frame"],
    size: tuple[int, int],
    supersample: int = 2,
    compile: bool | None = None,
    zoom: Float[Tensor, " world"] | None = None,
) -> WorldFilms:
    """Renders worlds on their device; see `render_worlds`. `size` is (height, width).

    `zoom` are factors of the worlds' own focal lengths.
    """
    height, width = size
    intrinsics = world_cameras(worlds, width, height).intrinsics
    if zoom is not None:
        intrinsics[:, :2] *= zoom[:, None]
    lenses = intrinsics[:, None].expand(-1, c2w.shape[1], -1).contiguous()
    cameras = Cameras(c2w.contiguous(), lenses, width, height)
    moments = times.expand(len(worlds), -1)
    shown = render_worlds(worlds, cameras, moments, supersample=supersample, compile=compile)
    color = round_to_uint8(shown.rgb).movedim(2, -1)
    return WorldFilms(color.contiguous(), shown.depth, intrinsics)


@dataclass(frozen=True)
class PooledClips:
    """Clips on one device; `depth` is the camera z, `intrinsics` are in pixels."""

    color: UInt8[Tensor, "world trajectory 3 frame h w"]
    depth: Float16[Tensor, "world trajectory frame h w"]
    c2w: Float[Tensor, "world trajectory frame 4 4"]
    intrinsics: Float[Tensor, "world 4"]
    seeds: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.seeds)


def film_pool(
    worlds: Sequence[World],
    poses: Float[Tensor, "world trajectory frame 4 4"],
    size: tuple[int, int],
    device: torch.device | str,
    supersample: int = 2,
    zoom: Float[Tensor, " world"] | None = None,
) -> PooledClips:
    """The clips of worlds of one detail, one for each trajectory of `poses`.

    `poses` are camera-to-world (the identity is the world's default camera), `size` is height and
    width, `zoom` are factors of the worlds' own focal lengths. The pool stays on `device`: 6,000
    clips of 17 x 176 x 320 take 17 GB for colour and 11 GB for depth. Raises `InputError` for no
    world, or worlds of several details.
    """
    if not worlds:
        raise InputError("worlds of a pool", "none", "at least one")
    assert len(poses) == len(worlds), f"{len(worlds)} worlds, poses of {len(poses)}"
    count, paths, frames = poses.shape[:3]
    begin = time.perf_counter()
    pool = PooledClips(
        color=torch.empty(count, paths, 3, frames, *size, dtype=torch.uint8, device=device),
        depth=torch.empty(count, paths, frames, *size, dtype=torch.float16, device=device),
        c2w=poses.float().to(device),
        intrinsics=torch.empty(count, 4, device=device),
        seeds=tuple(world.seed for world in worlds),
    )
    times = torch.linspace(0, 1, frames, device=device).repeat(paths)
    step = max(CLIPS_AT_ONCE // paths, 1)
    for first in range(0, count, step):
        some = slice(first, first + step)
        batch = assemble(worlds[some]).to(device)
        # All trajectories of a world are rendered as one run of frames.
        c2w = pool.c2w[some].flatten(1, 2)
        factors = None if zoom is None else zoom[some].to(device)
        films = film_worlds(batch, c2w, times, size, supersample=supersample, zoom=factors)
        pool.intrinsics[some] = films.intrinsics
        color = films.color.unflatten(1, (paths, frames))
        pool.color[some] = color.permute(0, 1, 5, 2, 3, 4)
        pool.depth[some] = films.depth.unflatten(1, (paths, frames))
    seconds = time.perf_counter() - begin
    LOGGER.info("%d clips of %d worlds in %.1f s", count * paths, count, seconds)
    return pool
