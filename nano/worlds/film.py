"""Clips of procedural worlds, rendered into the memory of a device for trainings without files.

A pool is `[world, trajectory, frame]`; frame i of n shows a dynamic world at the time i / (n - 1).
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor

from src.geometry.cameras import Cameras
from src.io.image import round_to_uint8
from src.runtime import InputError, get_logger

from .rendering.render import render_worlds
from .scene import World, assemble, world_cameras

LOGGER = get_logger(__name__)
# Clips that are rendered at once: each takes about 12 MB beside the pool at 17 x 176 x 320.
CLIPS_AT_ONCE = 32


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


def render_pool(
    seeds: Sequence[int],
    poses: Float[Tensor, "world trajectory frame 4 4"],
    size: tuple[int, int],
    dynamic: bool,
    device: torch.device | str,
    palette: str = "mixed",
    saturation: float = 1.0,
    supersample: int = 2,
) -> PooledClips:
    """The clips of the worlds `seeds`, one for each trajectory of `poses`.

    `poses` are camera-to-world (the identity is the world's default camera), `size` is height and
    width; see `World` for `palette` and `saturation`, `render_worlds` for `supersample`. The pool
    stays on `device`: 6,000 clips of 17 x 176 x 320 take 17 GB for colour and 11 GB for depth.

    Raises:
        InputError: no seed at all, an unknown palette, a negative saturation.
    """
    if not seeds:
        raise InputError("worlds of a pool", "none", "at least one seed")
    worlds = [World(int(seed), dynamic, palette, saturation) for seed in seeds]
    return film_pool(worlds, poses, size=size, device=device, supersample=supersample)


def film_pool(
    worlds: Sequence[World],
    poses: Float[Tensor, "world trajectory frame 4 4"],
    size: tuple[int, int],
    device: torch.device | str,
    supersample: int = 2,
) -> PooledClips:
    """The clips of worlds of one detail, one for each trajectory of `poses`; see `render_pool`.

    Raises:
        InputError: worlds of several details.
    """
    assert len(poses) == len(worlds), f"{len(worlds)} worlds, poses of {len(poses)}"
    height, width = size
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
        intrinsics = world_cameras(batch, width, height).intrinsics
        pool.intrinsics[some] = intrinsics
        # All trajectories of a world are rendered as one run of frames.
        c2w = pool.c2w[some].flatten(1, 2)
        cameras = Cameras(c2w, intrinsics[:, None].expand(*c2w.shape[:2], 4), width, height)
        shown = render_worlds(batch, cameras, times.expand(len(batch), -1), supersample=supersample)
        color = round_to_uint8(shown.rgb).unflatten(1, (paths, frames))
        pool.color[some] = color.transpose(2, 3)
        pool.depth[some] = shown.depth.unflatten(1, (paths, frames))
    seconds = time.perf_counter() - begin
    LOGGER.info("%d clips of %d worlds in %.1f s", count * paths, count, seconds)
    return pool
