"""Worlds like photographs: seeds, depth, textures that don't shimmer, pools."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from nano.data.pools import seeded_clips
from nano.depth.config import DepthDataConfig
from nano.depth.data import world_frames
from nano.worlds.film import film_pool
from nano.worlds.photo import coats
from nano.worlds.photo.layout import PHOTO_SKY_RADIUS
from nano.worlds.rendering import render
from nano.worlds.rendering.coating import atlas_side, pack_atlas, sample_atlas
from nano.worlds.rendering.render import WorldFrames, render_worlds
from nano.worlds.scene import World, Worlds, assemble, build_worlds, world_cameras
from src.geometry.cameras import Cameras
from src.runtime import InputError
from src.training.task import Share
from src.training.tokenizer.config import PoolConfig, TokenizerDataConfig

SIZE = (44, 80)


@pytest.fixture(autouse=True)
def small_atlas(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Textures of 32 x 32 texels: the same kinds, painted in a second."""
    monkeypatch.setattr(coats, "SIDE", 32)
    coats.photo_atlas.cache_clear()
    yield
    coats.photo_atlas.cache_clear()


def pictures(worlds: Worlds, size: tuple[int, int] = SIZE, supersample: int = 2) -> WorldFrames:
    start = world_cameras(worlds, size[1], size[0])
    cameras = Cameras(start.c2w[:, None], start.intrinsics[:, None], size[1], size[0])
    return render_worlds(worlds, cameras, torch.zeros(len(worlds), 1), supersample)


def test_a_photo_world_is_its_seed_in_any_batch() -> None:
    """Catches draws from a global generator, and padding or order that shows in the pictures."""
    together = pictures(build_worlds([3, 6, 8], detail="photo"))
    for index, seed in enumerate((3, 6, 8)):
        alone = pictures(build_worlds([seed], detail="photo"))
        torch.testing.assert_close(alone.depth[0], together.depth[index], atol=1e-5, rtol=1e-5)
        assert (alone.rgb[0] - together.rgb[index]).abs().max() < 2e-3
    plain = build_worlds([3, 6, 8])
    assert not torch.allclose(pictures(plain).depth, together.depth)


def test_moving_photo_worlds_start_as_the_still_ones() -> None:
    """Catches motions that change the layout, and worlds in which nothing moves."""
    still, moving = (build_worlds(range(6), dynamic, detail="photo") for dynamic in (False, True))
    index = torch.arange(6)
    tables = [w.at(index, torch.full((6,), t)).table for w in (still, moving) for t in (0.0, 0.4)]
    torch.testing.assert_close(tables[0], tables[2], atol=0, rtol=0)
    torch.testing.assert_close(tables[0], tables[1], atol=0, rtol=0)
    assert ((tables[3] - tables[2]).abs().amax((1, 2)) > 1e-3).all()


def nearest_hit(worlds: Worlds, row: int, ray: Tensor) -> float:
    """The camera z at which a ray of world `row` meets a solid, the shell or the sky, in float64.

    Textbook formulas, one solid at a time.
    """
    direction = worlds.scene_from_world[row].double() @ ray
    hits = []
    for place in range(sum(worlds.counts) + 1):
        half, centre = worlds.half[row, place].double(), worlds.center[row, place].double()
        yaw = worlds.yaw[row, place].double()
        if half[0] <= 0:
            continue
        turn = torch.eye(3, dtype=torch.float64)
        turn[0, 0] = turn[2, 2] = yaw.cos()
        turn[0, 2], turn[2, 0] = -yaw.sin(), yaw.sin()
        start, along = turn @ -centre, turn @ direction
        slabs = torch.stack([(side * half - start) / along for side in (-1, 1)])
        near, far = slabs.amin(0), slabs.amax(0)
        boxes, cylinders, _ = worlds.counts
        shell, box = place == sum(worlds.counts), place < boxes
        if not (box or shell):
            axes = [0, 2] if place < boxes + cylinders else [0, 1, 2]
            a, b = along[axes].square().sum(), (along[axes] * start[axes]).sum()
            root = b * b - a * (start[axes].square().sum() - half[0] ** 2)
            if root < 0:
                continue
            flat = (-b - root.sqrt()) / a, (-b + root.sqrt()) / a
            near = torch.stack([flat[0], near[1]]) if len(axes) == 2 else flat[0][None]
            far = torch.stack([flat[1], far[1]]) if len(axes) == 2 else flat[1][None]
        first, last = float(near.max()), float(far.min())
        if shell:
            hits.append(last)
        elif 0 < first < last:
            hits.append(first)
    return min([*hits, float(worlds.dome[row]) / float(direction.norm())])


def test_depth_is_that_of_the_formulas() -> None:
    """Catches things that are drawn without depth, or depth that textures or order disturb."""
    worlds, height, width = build_worlds(range(8), detail="photo"), *SIZE
    depth = pictures(worlds, supersample=1).depth[:, 0]
    lens = world_cameras(worlds, width, height).intrinsics.double()
    off = []
    for row in range(8):
        for y in range(3, height, 8):
            for x in range(2, width, 9):
                fx, fy, cx, cy = lens[row]
                one = torch.ones((), dtype=torch.float64)
                ray = torch.stack([(x + 0.5 - cx) / fx, (y + 0.5 - cy) / fy, one])
                off.append(abs(nearest_hit(worlds, row, ray) / float(depth[row, y, x]) - 1))
    # A ray within rounding of an edge may pass it.
    assert sorted(off)[int(0.995 * len(off))] < 1e-3
    assert max(off) < 0.05 or sum(value > 1e-3 for value in off) <= len(off) // 200


def test_scenes_reach_from_things_nearby_to_a_far_horizon() -> None:
    """Catches worlds that all have one range of depth, and things too few to be clutter."""
    worlds = build_worlds(range(40), detail="photo")
    solids = torch.tensor([sum(size) for size in worlds.sizes()])
    assert (solids > 45).any() and solids.float().median() > 10
    farthest = pictures(worlds, (22, 40), 1).depth.flatten(1).amax(1)
    assert (farthest > 0.7 * PHOTO_SKY_RADIUS).float().mean() > 0.15
    assert (farthest < 8).float().mean() > 0.2


def decibels(first: Tensor, second: Tensor) -> float:
    return float(-10 * torch.log10((first - second).square().mean()))


def test_textures_are_filtered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches textures that shimmer: one sample a pixel must nearly be the mean of 36.

    Without reductions of the textures, far floors are noise of some 20 dB.
    """
    monkeypatch.setattr(coats, "SIDE", 128)
    coats.photo_atlas.cache_clear()
    worlds = build_worlds([7, 13, 19], detail="photo")
    adaptive = pictures(worlds).rgb
    monkeypatch.setattr(render, "_edges", lambda hits, size, focal: torch.ones_like(hits.t).bool())
    truth = pictures(worlds, supersample=6).rgb
    assert decibels(adaptive, truth) > 32


def test_the_atlas_shows_means_of_its_textures() -> None:
    """Catches levels that are shifted, and textures that don't join at their ends."""
    textures = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    atlas = pack_atlas(textures)
    assert atlas_side(atlas) == 16
    number = torch.ones(1, 4, dtype=torch.int64)
    place = torch.tensor([[0.5 / 16, 1.5 / 16, 1 + 0.5 / 16, -15.5 / 16]])
    zero = torch.zeros(1, 4)
    point = ((zero, zero), (zero, zero))
    sampled = sample_atlas(atlas, number, (place, place), point)
    expected = textures[1][:, [0, 1, 0, 0], [0, 1, 0, 0]].T[None]
    torch.testing.assert_close(sampled, expected, atol=1e-5, rtol=0)
    wide = ((zero + 4, zero), (zero, zero + 4))
    mean = textures[1].mean((1, 2)).expand(1, 4, 3)
    torch.testing.assert_close(sample_atlas(atlas, number, (place, place), wide), mean)


def test_pools_have_photo_worlds_by_config() -> None:
    """Catches a detail that is ignored, or taken by plain worlds too."""
    config = TokenizerDataConfig(frames=9, image_size=(32, 48), crop=(32, 48), supersample=1)
    photo, plain = (
        seeded_clips([5], PoolConfig(detail=detail), config, device="cpu").color
        for detail in ("photo", "plain")
    )
    assert not torch.equal(photo, plain)
    data = DepthDataConfig(
        worlds=4, dynamic_share=0.5, photo_share=0.5, frames=2, pool_size=(32, 48), supersample=1
    )
    frames = world_frames(data, Share(), torch.device("cpu"))
    wanted = [World(0), World(1, detail="photo"), World(100_000, True)]
    wanted += [World(100_001, True, detail="photo")]
    eye = torch.eye(4).expand(1, 1, 1, 4, 4)
    for index, world in enumerate(wanted):
        alone = film_pool([world], eye, size=(32, 48), device="cpu", supersample=1)
        difference = alone.color[0, 0, :, 0].float() - frames.color[2 * index]
        assert difference.abs().mean() < 1
        # Only the sky has no depth.
        known = frames.depth[2 * index] > 0
        assert (alone.depth[0, 0, 0][~known] > 18).all()


def test_mixed_and_unknown_details_are_refused() -> None:
    """Catches a batch whose materials would be read as others."""
    with pytest.raises(InputError, match="only one"):
        assemble([World(1), World(1, detail="photo")])
    with pytest.raises(InputError, match="detail"):
        World(1, detail="painting")
