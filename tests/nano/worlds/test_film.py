"""Pools of rendered worlds: what stands where, whatever is rendered together."""

import pytest
import torch

from nano.data.clips import world_trajectories
from nano.worlds import film as world_pool
from nano.worlds.film import film_pool
from nano.worlds.rendering.render import render_worlds
from nano.worlds.scene import World, build_worlds, world_cameras
from src.geometry.cameras import Cameras
from src.runtime import InputError

SIZE = (16, 32)


def poses(seeds: list[int], frames: int, count: int = 2) -> torch.Tensor:
    return torch.stack([world_trajectories(seed, frames, False)[:count] for seed in seeds])


def test_every_clip_is_its_world_along_its_trajectory_at_its_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Worlds, trajectories, frames or times that change places, also where groups meet."""
    monkeypatch.setattr(world_pool, "CLIPS_AT_ONCE", 4)
    seeds, frames = [7, 3, 5], 3
    paths = poses(seeds, frames)
    pool = film_pool([World(seed, True, "vivid", 1.2) for seed in seeds], paths, SIZE, "cpu", 1)
    assert pool.color.shape == (3, 2, 3, frames, *SIZE)
    assert pool.seeds == (7, 3, 5)
    times = torch.linspace(0, 1, frames)[None]
    for index, seed in enumerate(seeds):
        worlds = build_worlds([seed], True, "vivid", 1.2)
        intrinsics = world_cameras(worlds, SIZE[1], SIZE[0]).intrinsics
        torch.testing.assert_close(pool.intrinsics[index], intrinsics[0])
        for path in range(2):
            c2w, held = paths[index, path], intrinsics.expand(frames, 4)[None]
            cameras = Cameras(c2w[None], held.contiguous(), SIZE[1], SIZE[0])
            alone = render_worlds(worlds, cameras, times, 1)
            shown = pool.color[index, path].transpose(0, 1) / 255
            # Edges of things may round to the other side.
            assert (shown - alone.rgb[0]).abs().mean() < 0.005
            assert ((pool.depth[index, path] - alone.depth[0]).abs() < 0.01).float().mean() > 0.98
            assert pool.c2w[index, path].equal(c2w)


def test_one_frame_and_a_still_camera_show_the_world_at_its_start() -> None:
    """A pool of single pictures that divides by zero frames, or a still world that moves."""
    still = torch.eye(4).expand(1, 1, 3, 4, 4)
    pool = film_pool([World(2)], still, SIZE, "cpu", supersample=1)
    assert (pool.color[:, :, :, 0] == pool.color[:, :, :, 2]).all()
    single = film_pool([World(2, True)], still[:, :, :1], SIZE, "cpu", supersample=1)
    difference = (single.color[0, 0, :, 0].float() - pool.color[0, 0, :, 0]).abs()
    assert difference.mean() < 1
    assert single.depth[0, 0, 0, 8, 16] == pytest.approx(1, abs=0.1)


def test_what_cannot_be_rendered_is_refused() -> None:
    """A pool without worlds, or of a palette that does not exist."""
    with pytest.raises(InputError, match="at least one"):
        film_pool([], torch.zeros(0, 1, 2, 4, 4), SIZE, "cpu")
    with pytest.raises(InputError, match="palette"):
        World(1, palette="grey")


@pytest.mark.gpu
def test_the_gpu_renders_the_same_pool() -> None:
    """A pool that is left on the CPU, or a compiled renderer that sees other worlds."""
    worlds, paths = [World(1, True), World(2, True)], poses([1, 2], 5)
    pool = film_pool(worlds, paths, (48, 96), "cuda")
    assert pool.color.is_cuda
    twin = film_pool(worlds, paths, (48, 96), "cpu")
    assert (pool.color.cpu().float() - twin.color).abs().mean() < 1
