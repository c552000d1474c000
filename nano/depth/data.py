"""Single frames with depth, kept on the device: of worlds, or of clips with depth archives.

Depth is camera z, 0 where there is none (the sky of a world, what a clip does not know).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, UInt8
from torch import Tensor

from src.geometry.cameras import Cameras
from src.geometry.projection import unproject
from src.io.clip.clip import ClipPaths, list_keys, list_trajectories, open_clip
from src.io.clip.packed import open_root
from src.io.image.pixels import round_to_uint8
from src.models.data.scenes import split_scenes
from src.models.data.transforms import ExampleFit
from src.runtime import InputError, progress
from src.training.task import Share

from ..seeds import TRAIN, VALIDATE
from ..worlds.clearance import CLEARANCE, camera_paths
from ..worlds.film import PooledClips, render_pool
from ..worlds.surroundings import SKY_RADIUS
from .config import DepthDataConfig

# Yaw, pitch and roll in degrees: means, standard deviations, and the most off the mean. Most worlds
# are seen from above, so that a camera that does not look up a little sees little but floor.
MEAN_TURNS, TURNS, MOST_TURNS = (0.0, 4.0, 0.0), (18.0, 7.0, 6.0), (45.0, 18.0, 18.0)
# Worlds whose frames are looked through for sky at once.
WORLDS_AT_ONCE = 32


@dataclass(frozen=True)
class FramePool:
    """Frames on one device; `focal` is in pixels, `names` say where each is from."""

    color: UInt8[Tensor, "frame 3 h w"]
    depth: Float16[Tensor, "frame h w"]
    focal: Float[Tensor, " frame"]
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    @staticmethod
    def concatenate(pools: Sequence["FramePool"]) -> "FramePool":
        """The frames of all pools, which are of one size."""
        parts = ([getattr(pool, name) for pool in pools] for name in ("color", "depth", "focal"))
        color, depth, focal = (torch.cat(part) for part in parts)
        return FramePool(color, depth, focal, [name for pool in pools for name in pool.names])


def free_poses(generator: np.random.Generator, count: int) -> Float[Tensor, "{count} 4 4"]:
    """Camera-to-world poses from which a world can be seen, the first one its own camera.

    Centres lie within the clearance of the paths that every world keeps free, farther from the
    middle than the six trajectories go; the camera looks about, also tilted.
    """
    poses = np.tile(np.eye(4), (count, 1, 1))
    for pose in poses[1:]:
        along = generator.choice(camera_paths())
        jitter = generator.normal(size=3)
        # Half of what is free, so that nothing is nearer than the other half.
        jitter *= 0.5 * CLEARANCE * generator.uniform() / np.linalg.norm(jitter)
        limit = np.array(MOST_TURNS)
        off = np.clip(generator.normal(size=3) * np.array(TURNS), -limit, limit)
        angles = off + np.array(MEAN_TURNS)
        pose[:3, :3], pose[:3, 3] = _turn(*np.radians(angles).tolist()), along + jitter
    return torch.from_numpy(poses).float()


def _turn(yaw: float, pitch: float, roll: float) -> Float[np.ndarray, "3 3"]:
    """A rotation about y, then x, then z of the camera."""
    result = np.eye(3)
    for angle, (first, second) in ((yaw, (2, 0)), (pitch, (1, 2)), (roll, (0, 1))):
        part = np.eye(3)
        part[first, first] = part[second, second] = math.cos(angle)
        part[first, second], part[second, first] = -math.sin(angle), math.sin(angle)
        result = result @ part
    return result


def is_sky(cameras: Cameras, depth: Float[Tensor, "*batch h w"]) -> Bool[Tensor, "*batch h w"]:
    """Where a world's depth is that of its sky, a sphere about the origin."""
    points = unproject(depth, cameras.intrinsics, cameras.c2w)
    # Half floats are off by less than this.
    return points.norm(dim=-1) > 0.99 * SKY_RADIUS


def world_frames(
    config: DepthDataConfig, share: Share, device: torch.device, held_out: bool = False
) -> FramePool:
    """Frames of worlds, the part of one process.

    Args:
        config: how many.
        share: of the processes, whose worlds are disjoint.
        device: renders and keeps them.
        held_out: of worlds that are never trained on, the same number for any training.
    """
    total = config.held_out if held_out else config.worlds
    moving = round(total * config.dynamic_share)
    use, start = (VALIDATE, 0) if held_out else (TRAIN, config.seed)
    pools = []
    for number, dynamic in ((total - moving, False), (moving, True)):
        seeds = use.seeds(number, dynamic, start)[share.rank :: share.world_size]
        if len(seeds):
            pools.append(_render(config, seeds, dynamic, device, held_out))
    if not pools:
        raise InputError("data.worlds", total, f"at least one for each of {share.world_size}")
    return FramePool.concatenate(pools)


def _render(
    config: DepthDataConfig, seeds: range, dynamic: bool, device: torch.device, held_out: bool
) -> FramePool:
    frames = config.held_out_frames if held_out else config.frames
    poses = [free_poses(np.random.default_rng([seed, 1]), frames) for seed in seeds]
    size = config.pool_size
    parts = torch.stack(poses)[:, None]
    pool = render_pool(seeds, parts, size, dynamic, device, supersample=config.supersample)
    _forget_sky(pool)
    return FramePool(
        pool.color[:, 0].transpose(1, 2).flatten(0, 1),
        pool.depth[:, 0].flatten(0, 1),
        pool.intrinsics[:, 0].repeat_interleave(frames),
        [f"world {seed}, frame {frame}" for seed in seeds for frame in range(frames)],
    )


def _forget_sky(pool: PooledClips) -> None:
    """Set the depth of the sky to 0, in place: the pool is large."""
    height, width = pool.depth.shape[-2:]
    for first in range(0, len(pool), WORLDS_AT_ONCE):
        some = slice(first, first + WORLDS_AT_ONCE)
        c2w, depth = pool.c2w[some, 0], pool.depth[some, 0]
        intrinsics = pool.intrinsics[some, None].expand(*c2w.shape[:2], 4)
        sky = is_sky(Cameras(c2w, intrinsics, width, height), depth.float())
        depth.masked_fill_(sky, 0)


def clip_frames(
    root: Path, config: DepthDataConfig, share: Share, device: torch.device, held_out: bool = False
) -> FramePool:
    """Frames of a folder of clips (or tar parts), evenly spaced in each, the part of one process.

    Raises:
        InputError: no clips, or clips without depth.
    """
    root = open_root(root)
    names = list_trajectories(root)
    everything = list_keys(root, names)
    split = "validation" if held_out else "train"
    keys = split_scenes(everything, split, config.held_out)
    clips = [ClipPaths(root, name, key) for key in keys for name in names]
    part = clips[share.rank :: share.world_size]
    if not part and not held_out:
        raise InputError(root, f"{len(clips)} clips", f"one for each of {share.world_size}")
    frames = config.held_out_frames if held_out else config.frames
    title = f"frames of {root}"
    pools = [_read(paths, frames, config.pool_size) for paths in progress(part, title, len(part))]
    if not pools:
        return _empty(config.pool_size, device)
    pool = FramePool.concatenate(pools)
    return FramePool(
        pool.color.to(device), pool.depth.to(device), pool.focal.to(device), pool.names
    )


def _read(paths: ClipPaths, count: int, size: tuple[int, int]) -> FramePool:
    clip = open_clip(paths)
    indices = np.unique(np.linspace(0, clip.num_frames - 1, count).round().astype(int)).tolist()
    depth = clip.depth(indices)
    cameras = clip.cameras(indices)
    fit = ExampleFit((cameras.height, cameras.width), size)
    color = fit.color(clip.frames(indices))
    if color.dtype != torch.uint8:
        color = round_to_uint8(color)
    depth = ExampleFit((depth.shape[1], depth.shape[2]), size).depth(depth)
    focal = fit.cameras(cameras).intrinsics[:, 0].float()
    names = [f"{paths.rgb}, frame {index}" for index in indices]
    return FramePool(color, depth.half(), focal, names)


def _empty(size: tuple[int, int], device: torch.device) -> FramePool:
    color = torch.empty(0, 3, *size, dtype=torch.uint8, device=device)
    depth = torch.empty(0, *size, dtype=torch.float16, device=device)
    return FramePool(color, depth, torch.empty(0, device=device), [])
