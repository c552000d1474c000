"""Worlds: building them from seeds, and rendering clips of 17 frames at 176x320."""

from collections.abc import Iterator
from functools import partial

import torch

from nano.worlds.rendering.render import render_worlds
from nano.worlds.rendering.shading import shade
from nano.worlds.scene import Worlds, build_worlds, world_cameras
from src.geometry.cameras import Cameras, invert_rigid
from src.geometry.trajectories import TrajectorySpec, make_trajectory
from src.runtime import can_compile

from .row import Row, peak_memory, reset_peak, seconds

FRAMES, HEIGHT, WIDTH = 17, 176, 320
# Worlds of a batch and clips of each: only batches keep a GPU busy.
BATCHES = {"cpu": ((1, 1),), "cuda": ((4, 6), (24, 1))}
CLIP_BUDGETS = {"cpu": 6.0, "cuda": 0.01}
WORLDS = 64
# A world of middle size: nine solids and a rug in a room.
SEED = 9


def _clip_cameras(worlds: Worlds, clips: int) -> Cameras:
    start = world_cameras(worlds, WIDTH, HEIGHT)
    path = invert_rigid(make_trajectory(TrajectorySpec("left", 0.3), FRAMES)).repeat(clips, 1, 1)
    c2w = path.to(start.c2w).expand(len(worlds), -1, -1, -1)
    intrinsics = start.intrinsics[:, None].expand(-1, clips * FRAMES, -1)
    return Cameras(c2w, intrinsics, WIDTH, HEIGHT)


def _clips(device: torch.device, compiled: bool) -> Iterator[Row]:
    how = "compiled" if compiled else "eager"
    for count, clips in BATCHES[device.type]:
        worlds = build_worlds(range(SEED, SEED + count)).to(device)
        cameras = _clip_cameras(worlds, clips)
        times = torch.zeros(count, clips * FRAMES, device=device)
        for supersample in (1, 2):
            name = f"{how}, supersample {supersample}, {count} worlds of {clips}"
            call = partial(
                render_worlds, worlds, cameras, times, supersample=supersample, compile=compiled
            )
            reset_peak(device)
            yield Row(f"first call, {name}", seconds(call, repeats=1, warm_up=0))
            taken = seconds(call, repeats=3) / (count * clips)
            yield Row(f"render a clip, {name}", taken, budget=CLIP_BUDGETS[device.type])
            yield peak_memory(f"peak memory, {name}", device)


def run(device: torch.device) -> Iterator[Row]:
    """Yields the time of a world and of a clip; static and dynamic worlds cost the same."""
    drawn = seconds(lambda: build_worlds(range(WORLDS)), repeats=3) / WORLDS
    yield Row("build a world", drawn)
    yield from _clips(device, compiled=False)
    if can_compile(device, shade):
        yield from _clips(device, compiled=True)
