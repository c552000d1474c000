"""Worlds: drawing them from seeds, and rendering clips of 17 frames at 176x320."""

import torch

from src.geometry.cameras import Cameras, invert_rigid
from src.geometry.trajectories import TrajectorySpec, make_trajectory
from src.worlds.render import render_worlds
from src.worlds.scene import Worlds, build_worlds, world_cameras

from .row import Row, seconds

FRAMES, HEIGHT, WIDTH = 17, 176, 320
# Worlds of a batch and clips of each: a GPU is kept busy by batches only.
BATCHES = {"cpu": (1, 1), "cuda": (4, 6)}
CLIP_BUDGETS = {"cpu": 6.0, "cuda": 0.01}
WORLDS = 64
# A middling world: nine solids and a rug in a room.
SEED = 9


def _clip_cameras(worlds: Worlds, clips: int) -> Cameras:
    start = world_cameras(worlds, WIDTH, HEIGHT)
    path = invert_rigid(make_trajectory(TrajectorySpec("left", 0.3), FRAMES)).repeat(clips, 1, 1)
    c2w = path.to(start.c2w).expand(len(worlds), -1, -1, -1)
    intrinsics = start.intrinsics[:, None].expand(-1, clips * FRAMES, -1)
    return Cameras(c2w, intrinsics, WIDTH, HEIGHT)


def run(device: torch.device) -> list[Row]:
    """Seconds for each world and for each clip; static and dynamic ones cost the same."""
    count, clips = BATCHES[device.type]
    worlds = build_worlds(range(SEED, SEED + count)).to(device)
    cameras, times = _clip_cameras(worlds, clips), torch.zeros(count, clips * FRAMES, device=device)
    budget = CLIP_BUDGETS[device.type]
    drawn = seconds(lambda: build_worlds(range(WORLDS)), repeats=3) / WORLDS
    rows = [Row("build a world", drawn)]
    for supersample in (1, 2):
        taken = seconds(lambda n=supersample: render_worlds(worlds, cameras, times, n), repeats=3)
        name = f"render a clip, supersample {supersample}, {count} worlds of {clips}"
        rows.append(Row(name, taken / (count * clips), budget=budget))
    return rows
