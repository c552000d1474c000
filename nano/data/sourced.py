"""Clips of procedural worlds with their sources, a few worlds at a time, on one device.

Still worlds start from their first frame, moving ones from the clip of a still camera. With the
time reversed, things move backwards and the camera moves forwards.
"""

from collections.abc import Iterator, Sequence

import torch

from cosmos_predict1.diffusion.model.architecture import SamplingDefaults
from cosmos_predict1.training.config import WorldSetConfig
from cosmos_predict1.training.sources import SourcedClips
from src.geometry.cameras import invert_rigid
from src.geometry.trajectories import MULTI_TRAJECTORY

from ..seeds import TRAIN, VALIDATE
from ..worlds.film import PooledClips, film_pool
from ..worlds.scene import World
from .clips import world_trajectories

TRAJECTORIES = len(MULTI_TRAJECTORY)


def world_clips(
    config: WorldSetConfig,
    size: SamplingDefaults,
    device: torch.device,
    share: tuple[int, int] = (0, 1),
    at_once: int = 32,
    held_out: bool = False,
) -> Iterator[SourcedClips]:
    """Yield the clips of the worlds, still ones first, and of these the plain ones first.

    `size` is height, width and number of frames, `share` the index of this process and the number
    of processes, which share the worlds; `at_once` worlds are rendered together. Raises
    `InputError` for seeds that are not for training, or `held_out`, not for validation.
    """
    use = VALIDATE if held_out else TRAIN
    kinds = ((config.static, config.static_seed), (config.dynamic, config.dynamic_seed))
    for dynamic, (count, given) in zip((False, True), kinds, strict=True):
        first = use.of(dynamic).start if given is None else given
        use.check("seeds of the generator's worlds", first, count, dynamic=dynamic)
        plain = count - round(count * config.photo_share)
        whole = range(first, first + count)
        for detail, part in (("plain", whole[:plain]), ("photo", whole[plain:])):
            seeds = part[share[0] :: share[1]]
            worlds = [
                World(seed, dynamic, config.palette, config.saturation, detail) for seed in seeds
            ]
            for start in range(0, len(worlds), at_once):
                some = worlds[start : start + at_once]
                yield _rendered(some, config.trajectories, size=size, device=device)


def _rendered(
    worlds: Sequence[World], count: int, *, size: SamplingDefaults, device: torch.device
) -> SourcedClips:
    """`count` clips of each of some worlds of one kind, with all trajectories equally often."""
    seeds, dynamic, frames = [w.seed for w in worlds], worlds[0].dynamic, size.num_frames
    kinds = TRAJECTORIES * (2 if dynamic else 1)
    # Neighbours in this order differ in kind and, in moving worlds, in the direction of time.
    order = torch.randperm(kinds, generator=torch.Generator().manual_seed(0)).tolist()
    chosen = [[order[(seed * count + k) % kinds] for k in range(count)] for seed in seeds]
    poses = torch.stack(
        [
            world_trajectories(seed, frames, dynamic)[numbers]
            for seed, numbers in zip(seeds, chosen, strict=True)
        ]
    )
    if dynamic:
        # The clip of the still camera comes first.
        still = torch.eye(4).expand(len(seeds), 1, frames, 4, 4)
        poses = torch.cat([still, poses], dim=1)
    pool = film_pool(worlds, poses, size=(size.height, size.width), device=device)
    rows = [
        _clip(pool, world=world, place=place, number=number, dynamic=dynamic)
        for world, numbers in enumerate(chosen)
        for place, number in enumerate(numbers)
    ]
    names = [name for name in vars(rows[0]) if name != "keys"]
    parts = {name: torch.cat([getattr(row, name) for row in rows]) for name in names}
    return SourcedClips(**parts, keys=tuple(key for row in rows for key in row.keys))


def _clip(pool: PooledClips, *, world: int, place: int, number: int, dynamic: bool) -> SourcedClips:
    """One clip of a pool, with a clip dimension of 1; its `number` is at least 6 if reversed."""
    place += dynamic
    video = pool.color[world, place].transpose(0, 1)
    c2w = pool.c2w[world, place]
    # Column 0 is the still camera's clip in moving worlds; still ones start from the clip itself.
    source = pool.color[world, 0 if dynamic else place].transpose(0, 1)
    depth, start = pool.depth[world, 0 if dynamic else place], pool.c2w[world, 0]
    if not dynamic:
        source, depth, start = source[:1], depth[:1], c2w[:1]
    if number >= TRAJECTORIES:
        video, c2w, source, depth = (part.flip(0) for part in (video, c2w, source, depth))
    return SourcedClips(
        video=video[None],
        source=source[None],
        depth=depth[None].float(),
        source_w2c=invert_rigid(start)[None],
        w2c=invert_rigid(c2w)[None],
        intrinsics=pool.intrinsics[world].expand(1, len(video), 4),
        keys=(f"world {pool.seeds[world]}, trajectory {number}",),
    )
