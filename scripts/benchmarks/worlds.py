"""Worlds: drawing them from seeds, and rendering clips of 17 frames at 176x320.

With `PROFILE=1` in the environment, also a table of the kernels that take the most time on a GPU.
"""

import os
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch

from nano.worlds.rendering.render import render_worlds
from nano.worlds.rendering.shading import shade
from nano.worlds.scene import Worlds, build_worlds, world_cameras
from src.geometry.cameras import Cameras, invert_rigid
from src.geometry.trajectories import TrajectorySpec, make_trajectory
from src.runtime import can_compile

from .row import Row, seconds

FRAMES, HEIGHT, WIDTH = 17, 176, 320
# Worlds of a batch and clips of each: a GPU is kept busy by batches only.
BATCHES = {"cpu": ((1, 1),), "cuda": ((4, 6), (24, 1))}
CLIP_BUDGETS = {"cpu": 6.0, "cuda": 0.01}
WORLDS = 64
# A middling world: nine solids and a rug in a room.
SEED = 9
KERNELS = 15


def _clip_cameras(worlds: Worlds, clips: int) -> Cameras:
    start = world_cameras(worlds, WIDTH, HEIGHT)
    path = invert_rigid(make_trajectory(TrajectorySpec("left", 0.3), FRAMES)).repeat(clips, 1, 1)
    c2w = path.to(start.c2w).expand(len(worlds), -1, -1, -1)
    intrinsics = start.intrinsics[:, None].expand(-1, clips * FRAMES, -1)
    return Cameras(c2w, intrinsics, WIDTH, HEIGHT)


def _print_kernels(call: Callable[[], object]) -> None:
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profile:
        call()
        torch.cuda.synchronize()
    averages = profile.key_averages()
    print(averages.table("self_cuda_time_total", row_limit=KERNELS, max_name_column_width=70))


def _clips(device: torch.device, compiled: bool) -> Iterator[Row]:
    how = "compiled" if compiled else "eager"
    for count, clips in BATCHES[device.type]:
        worlds = build_worlds(range(SEED, SEED + count)).to(device)
        cameras = _clip_cameras(worlds, clips)
        times = torch.zeros(count, clips * FRAMES, device=device)
        for supersample in (1, 2):
            name = f"{how}, supersample {supersample}, {count} worlds of {clips}"
            call = partial(render_worlds, worlds, cameras, times, supersample, compiled)
            start = time.perf_counter()
            call()
            if device.type == "cuda":
                torch.cuda.synchronize()
            yield Row(f"first call, {name}", time.perf_counter() - start)
            taken = seconds(call, repeats=3) / (count * clips)
            yield Row(f"render a clip, {name}", taken, budget=CLIP_BUDGETS[device.type])
            if device.type == "cuda":
                yield Row(f"peak memory, {name}", torch.cuda.max_memory_allocated() / 1e9, "GB")
                torch.cuda.reset_peak_memory_stats()
            if device.type == "cuda" and os.environ.get("PROFILE") == "1":
                _print_kernels(call)


def run(device: torch.device) -> Iterator[Row]:
    """Seconds for each world and for each clip; static and dynamic ones cost the same."""
    drawn = seconds(lambda: build_worlds(range(WORLDS)), repeats=3) / WORLDS
    yield Row("build a world", drawn)
    yield from _clips(device, compiled=False)
    if can_compile(device, shade):
        yield from _clips(device, compiled=True)
