"""Clips of procedural worlds, rendered into the memory of a device: training without files.

A pool is `[world, trajectory, frame]`; frame i of n shows a dynamic world at the time i / (n - 1).
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float, Float16, UInt8
from torch import Tensor

from src.geometry.cameras import Cameras
from src.io.image.pixels import round_to_uint8
from src.runtime import InputError, get_logger

from .rendering.render import render_worlds
from .scene import Worlds, build_worlds, world_cameras

LOGGER = get_logger(__name__)
# Clips that are rendered at once: bounds the memory beside the pool, about 12 MB of each at
# 17 x 176 x 320 in float32.
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

    def map(self, function: Callable[[Tensor], Tensor]) -> "PooledClips":
        """The same worlds with `function` applied to each tensor."""
        names = [field.name for field in fields(self) if field.name != "seeds"]
        return replace(self, **{name: function(getattr(self, name)) for name in names})

    def cameras(self, world: int, trajectory: int) -> Cameras:
        """The cameras of one clip."""
        c2w, (height, width) = self.c2w[world, trajectory], self.depth.shape[-2:]
        return Cameras(c2w, self.intrinsics[world].expand(len(c2w), 4), width, height)


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
    """The clips of the worlds `seeds`, a clip for each trajectory of `poses`.

    Args:
        seeds: of the worlds.
        poses: camera-to-world, in world coordinates: the identity is the world's own camera.
        size: height and width.
        dynamic: things move.
        device: renders and holds the pool: 6,000 clips of 17 x 176 x 320 take 17 GB for colour and
            11 GB for depth.
        palette: of the worlds; see `World`.
        saturation: of the worlds; see `World`.
        supersample: samples of a pixel at edges, along each axis.

    Raises:
        InputError: no seed at all, an unknown palette, a negative saturation.
    """
    if not seeds:
        raise InputError("worlds of a pool", "none", "at least one seed")
    assert len(poses) == len(seeds), f"{len(seeds)} seeds, poses of {len(poses)} worlds"
    height, width = size
    count, paths, frames = poses.shape[:3]
    begin = time.perf_counter()
    pool = PooledClips(
        color=torch.empty(count, paths, 3, frames, *size, dtype=torch.uint8, device=device),
        depth=torch.empty(count, paths, frames, *size, dtype=torch.float16, device=device),
        c2w=poses.float().to(device),
        intrinsics=torch.empty(count, 4, device=device),
        seeds=tuple(int(seed) for seed in seeds),
    )
    step = max(CLIPS_AT_ONCE // paths, 1)
    groups = [pool.seeds[first : first + step] for first in range(0, count, step)]
    first = 0
    for worlds in _built(groups, dynamic, palette, saturation):
        some = slice(first, first + len(worlds))
        worlds = worlds.to(device)
        intrinsics = world_cameras(worlds, width, height).intrinsics
        pool.intrinsics[some] = intrinsics
        # All trajectories of a world are one run of frames.
        c2w = pool.c2w[some].flatten(1, 2)
        cameras = Cameras(c2w, intrinsics[:, None].expand(*c2w.shape[:2], 4), width, height)
        times = torch.linspace(0, 1, frames, device=device).repeat(paths).expand(len(worlds), -1)
        shown = render_worlds(worlds, cameras, times, supersample)
        color = round_to_uint8(shown.rgb).unflatten(1, (paths, frames))
        pool.color[some] = color.transpose(2, 3)
        pool.depth[some] = shown.depth.unflatten(1, (paths, frames))
        first += len(worlds)
    seconds = time.perf_counter() - begin
    LOGGER.info("%d clips of %d worlds in %.1f s", count * paths, count, seconds)
    return pool


def _built(
    groups: Sequence[Sequence[int]], dynamic: bool, palette: str, saturation: float
) -> Iterator[Worlds]:
    """The worlds of each group of seeds, on the CPU."""
    for seeds in groups:
        yield build_worlds(seeds, dynamic, palette, saturation)
