"""Clips of procedural worlds with their sources, a few worlds at a time, on one device.

Still worlds start from their first frame, moving ones from the clip of a still camera. With the
time reversed, what moves goes backwards and the camera forwards.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_predict1.diffusion.model.architecture import SamplingDefaults
from cosmos_predict1.training.config import WorldSetConfig
from cosmos_predict1.training.sources import SourcedClips
from src.geometry.cameras import invert_rigid

from ..seeds import TRAIN, VALIDATE
from ..worlds.film import PooledClips, render_pool
from .clips import world_trajectories

TRAJECTORIES = 6


@dataclass(frozen=True)
class _Choice:
    """The chosen trajectories of some worlds; those from 6 on are reversed."""

    poses: Float[Tensor, "world trajectory frame 4 4"]
    numbers: list[list[int]]


def world_clips(
    config: WorldSetConfig,
    size: SamplingDefaults,
    device: torch.device,
    share: tuple[int, int] = (0, 1),
    at_once: int = 32,
    held_out: bool = False,
) -> Iterator[SourcedClips]:
    """Yield the clips of the worlds, still ones first.

    Args:
        config: which worlds.
        size: height, width and number of frames.
        device: renders and holds the clips.
        share: the index of this process and the number of processes, each of which has its part.
        at_once: how many worlds are rendered together.
        held_out: for validation.

    Raises:
        InputError: seeds that are not for this use.
    """
    use = VALIDATE if held_out else TRAIN
    kinds = ((config.static, config.static_seed), (config.dynamic, config.dynamic_seed))
    for dynamic, (count, given) in zip((False, True), kinds, strict=True):
        first = use.of(dynamic).start if given is None else given
        use.check("seeds of the generator's worlds", first, count, dynamic)
        seeds = range(first, first + count)[share[0] :: share[1]]
        for start in range(0, len(seeds), at_once):
            some = seeds[start : start + at_once]
            yield _rendered(config, some, size, dynamic, device)


def _rendered(
    config: WorldSetConfig,
    seeds: Sequence[int],
    size: SamplingDefaults,
    dynamic: bool,
    device: torch.device,
) -> SourcedClips:
    """The clips of some worlds of one kind."""
    choice = _choose(seeds, size.num_frames, dynamic, config.trajectories)
    poses = choice.poses
    if dynamic:
        # The clip of the still camera comes first.
        still = torch.eye(4).expand(len(seeds), 1, size.num_frames, 4, 4)
        poses = torch.cat([still, poses], dim=1)
    look = (config.palette, config.saturation)
    pool = render_pool(seeds, poses, (size.height, size.width), dynamic, device, *look)
    rows = [
        _clip(pool, world, place, number, dynamic)
        for world, numbers in enumerate(choice.numbers)
        for place, number in enumerate(numbers)
    ]
    names = [field.name for field in fields(SourcedClips) if field.name != "keys"]
    parts = (torch.cat([getattr(row, name) for row in rows]) for name in names)
    return SourcedClips(*parts, keys=tuple(key for row in rows for key in row.keys))


def _choose(seeds: Sequence[int], frames: int, dynamic: bool, count: int) -> _Choice:
    """`count` trajectories of each world, all kinds of them equally often."""
    kinds = TRAJECTORIES * (2 if dynamic else 1)
    # Neighbours in this order differ in kind and, where there are two, in the direction of time.
    order = torch.randperm(kinds, generator=torch.Generator().manual_seed(0)).tolist()
    numbers = [[order[(seed * count + k) % kinds] for k in range(count)] for seed in seeds]
    poses = [
        world_trajectories(seed, frames, dynamic)[chosen]
        for seed, chosen in zip(seeds, numbers, strict=True)
    ]
    return _Choice(torch.stack(poses), numbers)


def _clip(pool: PooledClips, world: int, place: int, number: int, dynamic: bool) -> SourcedClips:
    """One clip of a pool, with a clip dimension of 1."""
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
    intrinsics = pool.intrinsics[world].expand(len(video), 4)
    return SourcedClips(
        video[None],
        source[None],
        depth[None].float(),
        invert_rigid(start)[None],
        invert_rigid(c2w)[None],
        intrinsics[None],
        (f"world {pool.seeds[world]}, trajectory {number}",),
    )
