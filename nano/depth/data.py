"""Single frames with depth on the device, from worlds or from clips with depth archives.

Depth is camera z, 0 where it is unknown (the sky of a world, gaps of a clip's depth).
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
from src.geometry.rays import unproject
from src.io.clip.clip import ClipPaths, list_keys, list_trajectories, open_clip
from src.io.clip.packed import open_root
from src.io.image import round_to_uint8
from src.models.data.dataset import split_scenes
from src.models.data.fit import ExampleFit
from src.runtime import InputError, progress
from src.training.task import Share

from ..seeds import TRAIN, VALIDATE
from ..worlds.clearance import CLEARANCE, camera_paths
from ..worlds.film import film_pool
from ..worlds.photo.layout import PHOTO_SKY_RADIUS
from ..worlds.scene import World
from ..worlds.surroundings import SKY_RADIUS
from .config import DepthDataConfig

# Yaw, pitch and roll in degrees: means, standard deviations, largest distances from the mean. The
# default camera looks down: one that does not turn up a little sees little but floor.
MEAN_TURNS, TURNS, MOST_TURNS = (0.0, 6.0, 0.0), (18.0, 10.0, 6.0), (45.0, 28.0, 18.0)
# Worlds that are searched for sky at once.
WORLDS_AT_ONCE = 32


@dataclass(frozen=True)
class FramePool:
    """Frames on one device; `focal` is in pixels, `names` give the origin of each."""

    color: UInt8[Tensor, "frame 3 h w"]
    depth: Float16[Tensor, "frame h w"]
    focal: Float[Tensor, " frame"]
    names: list[str]

    def __len__(self) -> int:
        return len(self.names)

    @staticmethod
    def concatenate(pools: Sequence["FramePool"]) -> "FramePool":
        """The frames of all pools, which have one size."""
        return FramePool(
            color=torch.cat([pool.color for pool in pools]),
            depth=torch.cat([pool.depth for pool in pools]),
            focal=torch.cat([pool.focal for pool in pools]),
            names=[name for pool in pools for name in pool.names],
        )


def free_poses(generator: np.random.Generator, count: int) -> Float[Tensor, "{count} 4 4"]:
    """Random camera-to-world poses in a world's free space; the first is its default camera.

    Centres lie within the clearance of the paths that every world keeps free, which reach farther
    than the six trajectories; directions vary, with some roll.
    """
    poses = np.tile(np.eye(4), (count, 1, 1))
    for pose in poses[1:]:
        along = generator.choice(camera_paths())
        jitter = generator.normal(size=3)
        # At most half of the clearance, so that no surface is nearer than the other half.
        jitter *= 0.5 * CLEARANCE * generator.uniform() / np.linalg.norm(jitter)
        limit = np.array(MOST_TURNS)
        off = np.clip(generator.normal(size=3) * np.array(TURNS), -limit, limit)
        angles = off + np.array(MEAN_TURNS)
        yaw, pitch, roll = np.radians(angles).tolist()
        pose[:3, :3], pose[:3, 3] = _turn(yaw, pitch, roll), along + jitter
    return torch.from_numpy(poses).float()


def _turn(yaw: float, pitch: float, roll: float) -> Float[np.ndarray, "3 3"]:
    """A rotation about the camera's y, then x, then z axis."""
    result = np.eye(3)
    for angle, (first, second) in ((yaw, (2, 0)), (pitch, (1, 2)), (roll, (0, 1))):
        part = np.eye(3)
        part[first, first] = part[second, second] = math.cos(angle)
        part[first, second], part[second, first] = -math.sin(angle), math.sin(angle)
        result = result @ part
    return result


def is_sky(
    cameras: Cameras, depth: Float[Tensor, "*batch h w"], radius: float = SKY_RADIUS
) -> Bool[Tensor, "*batch h w"]:
    """The pixels of a world's sky, a sphere about the origin."""
    points = unproject(depth, cameras.intrinsics, cameras.c2w)
    # The 1 % exceeds the rounding of half floats.
    return points.norm(dim=-1) > 0.99 * radius


def world_frames(
    config: DepthDataConfig, share: Share, device: torch.device, held_out: bool = False
) -> FramePool:
    """Frames of one process's share of the worlds; processes have different worlds.

    `held_out` worlds are never trained on, and the same for any training. Raises `InputError` for a
    process without a world.
    """
    total = config.held_out if held_out else config.worlds
    moving = round(total * config.dynamic_share)
    use, start = (VALIDATE, 0) if held_out else (TRAIN, config.seed)
    frames = config.held_out_frames if held_out else config.frames
    pools = []
    for number, dynamic in ((total - moving, False), (moving, True)):
        seeds = use.seeds(number, dynamic, start)
        plain = number - round(number * config.photo_share)
        for detail, part in (("plain", seeds[:plain]), ("photo", seeds[plain:])):
            own = part[share.rank :: share.world_size]
            if len(own):
                worlds = [World(seed, dynamic, detail=detail) for seed in own]
                pools.append(_render(config, worlds, frames=frames, device=device))
    if not pools:
        raise InputError("data.worlds", total, f"at least one for each of {share.world_size}")
    return FramePool.concatenate(pools)


def _render(
    config: DepthDataConfig, worlds: Sequence[World], *, frames: int, device: torch.device
) -> FramePool:
    """Frames of worlds of one detail."""
    poses = [free_poses(np.random.default_rng([world.seed, 1]), frames) for world in worlds]
    zoom = [
        np.random.default_rng([world.seed, 2]).uniform(config.shortest_lens, 1) for world in worlds
    ]
    radius = PHOTO_SKY_RADIUS if worlds[0].detail == "photo" else SKY_RADIUS
    pool = film_pool(
        worlds,
        torch.stack(poses)[:, None],
        size=config.pool_size,
        device=device,
        supersample=config.supersample,
        zoom=torch.tensor(zoom, dtype=torch.float32),
    )
    height, width = config.pool_size
    for first in range(0, len(pool), WORLDS_AT_ONCE):
        some = slice(first, first + WORLDS_AT_ONCE)
        c2w, depth = pool.c2w[some, 0], pool.depth[some, 0]
        intrinsics = pool.intrinsics[some, None].expand(*c2w.shape[:2], 4)
        sky = is_sky(Cameras(c2w, intrinsics, width, height), depth.float(), radius)
        # In place, because the pool is large.
        depth.masked_fill_(sky, 0)
    return FramePool(
        color=pool.color[:, 0].transpose(1, 2).flatten(0, 1),
        depth=pool.depth[:, 0].flatten(0, 1),
        focal=pool.intrinsics[:, 0].repeat_interleave(frames),
        names=[f"world {seed}, frame {frame}" for seed in pool.seeds for frame in range(frames)],
    )


def clip_frames(
    root: Path, config: DepthDataConfig, share: Share, device: torch.device, held_out: bool = False
) -> FramePool:
    """Evenly spaced frames of one process's share of a folder of clips (or of tar parts).

    Raises `InputError` for no clips, or clips without depth.
    """
    root = open_root(root)
    names = list_trajectories(root)
    split = "validation" if held_out else "train"
    keys = split_scenes(list_keys(root, names), split, config.held_out)
    clips = [ClipPaths(root, name, key) for key in keys for name in names]
    part = clips[share.rank :: share.world_size]
    if not part and not held_out:
        raise InputError(root, f"{len(clips)} clips", f"one for each of {share.world_size}")
    frames = config.held_out_frames if held_out else config.frames
    empty = FramePool(
        color=torch.empty(0, 3, *config.pool_size, dtype=torch.uint8),
        depth=torch.empty(0, *config.pool_size, dtype=torch.float16),
        focal=torch.empty(0),
        names=[],
    )
    listed = progress(part, f"frames of {root}", len(part))
    pool = FramePool.concatenate([empty, *(_read(p, frames, config.pool_size) for p in listed)])
    color, depth, focal = (t.to(device) for t in (pool.color, pool.depth, pool.focal))
    return FramePool(color=color, depth=depth, focal=focal, names=pool.names)


def _read(paths: ClipPaths, count: int, size: tuple[int, int]) -> FramePool:
    clip = open_clip(paths)
    indices = np.unique(np.linspace(0, clip.num_frames - 1, count).round().astype(int)).tolist()
    depth, cameras = clip.depth(indices), clip.cameras(indices)
    fit = ExampleFit((cameras.height, cameras.width), size)
    color = fit.color(clip.frames(indices))
    return FramePool(
        color=color if color.dtype == torch.uint8 else round_to_uint8(color),
        depth=ExampleFit((depth.shape[1], depth.shape[2]), size).depth(depth).half(),
        focal=fit.cameras(cameras).intrinsics[:, 0].float(),
        names=[f"{paths.rgb}, frame {index}" for index in indices],
    )
