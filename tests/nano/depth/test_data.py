"""Frames of worlds and of clips: what is kept, for which process, and what is known of depth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from nano.depth.config import DepthDataConfig
from nano.depth.data import clip_frames, free_poses, is_sky, world_frames
from nano.seeds import VALIDATE
from nano.worlds.clearance import CLEARANCE, camera_paths
from nano.worlds.rendering.render import render_worlds
from nano.worlds.scene import build_worlds, world_cameras
from src.geometry.cameras import Cameras, check_poses
from src.io.clip.clip import Clip, ClipPaths, write_clip
from src.runtime import InputError
from src.training.task import Share

CPU = torch.device("cpu")
SMALL = DepthDataConfig(
    worlds=6,
    dynamic_share=0.34,
    frames=3,
    pool_size=(32, 48),
    supersample=1,
    held_out=4,
    held_out_frames=2,
)


def test_poses_stay_where_worlds_are_free() -> None:
    """A camera inside of a thing, or poses that are no rotations, always the same or level."""
    poses = free_poses(np.random.default_rng(0), 300)
    check_poses(poses, "poses")
    torch.testing.assert_close(poses[0], torch.eye(4))
    centres = poses[:, :3, 3].numpy()
    paths = np.concatenate([camera_paths(), np.zeros((1, 3))])
    gap = np.linalg.norm(centres[:, None] - paths[None], axis=2).min(axis=1)
    assert gap.max() < CLEARANCE
    assert np.abs(centres).max(axis=0).min() > 0.2
    ahead, side = poses[:, :3, 2], poses[:, :3, 0]
    # Up is -y: more looks up than down, and some of it is tilted.
    assert (ahead[:, 1] < 0).float().mean() > 0.6
    assert side[:, 1].abs().max() > 0.15
    assert (ahead[:, 2] > 0.5).all()


def test_frames_are_those_of_the_worlds_seen_from_their_poses() -> None:
    """Frames, depths, lenses or names that change places."""
    pool = world_frames(SMALL, Share(), CPU)
    assert len(pool) == len(pool.color) == len(pool.depth) == len(pool.focal) == 18
    assert pool.names[4] == "world 1, frame 1"
    assert pool.names[12:15] == [f"world 100000, frame {frame}" for frame in range(3)]
    worlds = build_worlds([1])
    poses = free_poses(np.random.default_rng([1, 1]), 3)
    lens = world_cameras(worlds, 48, 32).intrinsics
    cameras = Cameras(poses[None], lens[:, None].expand(1, 3, 4), 48, 32)
    alone = render_worlds(worlds, cameras, torch.zeros(1, 3), 1)
    torch.testing.assert_close(pool.focal[3:6], lens[:, 0].expand(3))
    color = (alone.rgb[0] * 255).round()
    assert (pool.color[3:6].float() - color).abs().mean() < 1
    known = pool.depth[3:6] > 0
    difference = (pool.depth[3:6].float() - alone.depth[0])[known].abs()
    assert (difference < 0.01).float().mean() > 0.98


def test_shorter_lenses_see_more_of_the_same_world() -> None:
    """A focal length that the pictures do not have: the network would learn a wrong lens."""
    short = replace(SMALL, worlds=2, dynamic_share=0.0, shortest_lens=0.4)
    pool = world_frames(short, Share(), CPU)
    own = world_frames(replace(short, shortest_lens=1.0), Share(), CPU)
    factor = pool.focal / own.focal
    assert (factor >= 0.4).all() and (factor <= 1).all()
    assert factor[0] == factor[2] != factor[3]
    worlds = build_worlds([1])
    lens = torch.tensor([[float(pool.focal[3])] * 2 + [24.0, 16.0]])
    poses = free_poses(np.random.default_rng([1, 1]), 3)
    cameras = Cameras(poses[None], lens[:, None].expand(1, 3, 4), 48, 32)
    alone = render_worlds(worlds, cameras, torch.zeros(1, 3), 1)
    color = (alone.rgb[0] * 255).round()
    assert (pool.color[3:].float() - color).abs().mean() < 1
    assert (own.color[3:].float() - color).abs().mean() > 5
    with pytest.raises(InputError, match=r"data\.shortest_lens"):
        DepthDataConfig(shortest_lens=0.0)


def test_the_sky_is_unknown_and_nothing_else_is() -> None:
    """A network that learns to see a ceiling in the sky, or that far ground is no ground."""
    seeds = list(range(12))
    worlds = build_worlds(seeds)
    cameras = world_cameras(worlds, 48, 32)
    lens = cameras.intrinsics[:, None]
    poses = torch.stack([free_poses(np.random.default_rng(seed), 2)[1] for seed in seeds])[:, None]
    seen = Cameras(poses, lens, 48, 32)
    depth = render_worlds(worlds, seen, torch.zeros(12, 1), 1).depth
    sky = is_sky(seen, depth.half().float())
    outdoors = worlds.dome < 100
    assert outdoors.any() and not outdoors.all()
    assert not sky[~outdoors].any()
    assert sky[outdoors].any()
    # Above a pixel of sky there is sky, unless a thing reaches into it.
    assert depth[sky].min() > 10 and depth[~sky].max() < 20
    assert depth[~sky].median() < 4


def test_processes_and_validation_have_worlds_of_their_own() -> None:
    """Worlds that are trained on twice, or validated with."""
    parts = [world_frames(SMALL, Share(rank, 2), CPU).names for rank in range(2)]
    assert not set(parts[0]) & set(parts[1])
    assert {*parts[0], *parts[1]} == set(world_frames(SMALL, Share(), CPU).names)
    held_out = world_frames(SMALL, Share(), CPU, held_out=True).names
    seeds = {int(name.split()[1].rstrip(",")) for name in held_out}
    assert seeds == {*VALIDATE.seeds(3, dynamic=False), *VALIDATE.seeds(1, dynamic=True)}
    later = world_frames(replace(SMALL, seed=6), Share(), CPU).names
    assert later[0] == "world 6, frame 0"
    with pytest.raises(InputError, match="at least one for each of 9"):
        world_frames(SMALL, Share(8, 9), CPU)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two trajectories of four scenes of five frames, the depth of which is 1 + frame."""
    for key in ("a", "b", "c", "d"):
        for name in ("0", "1"):
            poses = torch.eye(4).repeat(5, 1, 1)
            intrinsics = torch.tensor([40.0, 40.0, 32.0, 16.0]).expand(5, 4).contiguous()
            frames = torch.full((5, 32, 64, 3), 90, dtype=torch.uint8)
            depth = (1.0 + torch.arange(5))[:, None, None].repeat(1, 32, 64)
            depth[:, :, :16] = torch.inf
            clip = Clip(Cameras(poses, intrinsics, 64, 32), 24, frames, depth=depth)
            write_clip(ClipPaths(tmp_path, name, key), clip)
    return tmp_path


def test_clips_give_frames_at_the_size_of_the_pool(clips: Path) -> None:
    """Depth of other frames than the pictures, a lens that does not follow the size."""
    config = replace(SMALL, held_out=1, pool_size=(64, 96))
    pool = clip_frames(clips, config, Share(), CPU)
    assert len(pool) == 3 * 2 * 3
    assert pool.color.shape[1:] == (3, 64, 96)
    # Cropped to 32 x 48, then doubled: 8 of the 16 unknown columns are left.
    assert pool.focal.tolist() == [80.0] * len(pool)
    assert (pool.depth[:, :, :16] == 0).all() and (pool.depth[:, :, 17:] > 0).all()
    assert pool.depth[:3, 0, -1].tolist() == [1, 3, 5]
    assert pool.names[1].endswith(".mp4, frame 2")
    held_out = clip_frames(clips, config, Share(), CPU, held_out=True)
    assert len(held_out) == 1 * 2 * 2
    assert not set(pool.names) & set(held_out.names)
    parts = [clip_frames(clips, config, Share(rank, 2), CPU).names for rank in range(2)]
    assert sorted(parts[0] + parts[1]) == sorted(pool.names)


def test_clips_without_depth_or_without_scenes_are_errors(clips: Path, tmp_path: Path) -> None:
    """A network that trains on nothing."""
    with pytest.raises(InputError, match="no such folder"):
        clip_frames(tmp_path / "nowhere", SMALL, Share(), CPU)
    empty = tmp_path / "empty"
    (empty / "0" / "rgb").mkdir(parents=True)
    with pytest.raises(InputError, match="folder of clips"):
        clip_frames(empty, SMALL, Share(), CPU)
    for path in clips.glob("*/depth/*.zip"):
        path.unlink()
    with pytest.raises(InputError, match=r"depth.*no such file"):
        clip_frames(clips, SMALL, Share(), CPU)
