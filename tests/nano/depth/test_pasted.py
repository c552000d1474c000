"""Pasted things: they stand where they should, hide what is behind, and change nothing else."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nano.depth.draws import BatchDraws
from nano.depth.losses import DepthSamples
from nano.depth.pasted import (
    FARTHEST,
    KINDS,
    LIMBS,
    MOST_SEEN,
    NEAREST,
    SHARES,
    SIZES,
    Outlines,
    Paste,
    Places,
    draw_outlines,
    draw_places,
    level_surfaces,
    paste,
    unprojected,
)

ROWS, COLUMNS = 64, 96
# In pixels; the floor of `floors` is this far below the camera.
FOCAL, BELOW = 80.0, 0.5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def floors(batch: int = 4, wall: float = 6.0, sky: bool = False, pitch: float = 0.2) -> Tensor:
    """Depth of a level floor before a wall (or the sky) for a camera that looks down by `pitch`."""
    y = torch.arange(ROWS) + 0.5 - ROWS / 2
    down = math.cos(pitch) * y / FOCAL + math.sin(pitch)
    ahead = math.cos(pitch) - math.sin(pitch) * y / FOCAL
    floor = torch.where(down > 1e-6, BELOW / down, torch.inf)
    far = torch.full_like(floor, torch.inf if sky else 1) * (wall / ahead)
    depth = torch.minimum(floor, far)
    depth = torch.where(depth.isinf(), 0.0, depth)
    return depth[None, :, None].expand(batch, ROWS, COLUMNS).contiguous()


def focals(batch: int = 4) -> Tensor:
    return torch.full((batch,), FOCAL)


def samples(depth: Tensor) -> DepthSamples:
    focal = focals(len(depth)) / math.hypot(ROWS, COLUMNS)
    image = torch.full((len(depth), 3, ROWS, COLUMNS), 0.5)
    return DepthSamples(image, depth, focal.log(), ["x"] * len(depth))


def grey(count: int = 3) -> Tensor:
    return torch.full((count, 3, ROWS, COLUMNS), 128, dtype=torch.uint8)


def upright(batch: int = 1) -> Outlines:
    """One upright ellipse of height 1, half as wide; the other limbs are inside of it."""
    one, none = torch.ones(batch, LIMBS), torch.zeros(batch, LIMBS)
    return Outlines(
        x=none,
        y=0.5 * one,
        half_x=0.25 * one,
        half_y=0.5 * one,
        turn=none,
        power=2 * one,
        color=none.long(),
        palette=torch.tensor([1.0, 0.0, 0.0]).expand(batch, 4, 3),
        light=torch.tensor([[0.0, 0.0, 1.0]]).expand(batch, 3),
        bulge=torch.zeros(batch),
        size=torch.ones(batch),
    )


def standing(z: float, height: float, x: float = 0.0, y: float = BELOW) -> Places:
    """A place before a camera that looks straight ahead."""
    return Places(
        foot=torch.tensor([[x, y, z]]),
        normal=torch.tensor([[0.0, -1.0, 0.0]]),
        height=torch.tensor([height]),
        there=torch.tensor([True]),
    )


def test_surfaces_are_floors_and_no_walls_edges_or_sky() -> None:
    """Things that hang on walls, at the rim of a box, or in the sky."""
    for sky in (False, True):
        depth = floors(sky=sky)
        level, normal = level_surfaces(unprojected(depth, focals()))
        down = torch.tensor([0.0, math.cos(0.2), math.sin(0.2)])
        points = unprojected(depth, focals())
        on_floor = ((points * down[:, None, None]).sum(1) - BELOW).abs() < 1e-4
        assert level.any() and (on_floor | ~level).all()
        found = normal.movedim(1, -1)[level]
        torch.testing.assert_close(found, -down.expand_as(found), atol=3e-3, rtol=0)
        assert points[:, 2][level].max() < FARTHEST and points[:, 2][level].min() > NEAREST
    # A floor seen from below is a ceiling.
    level, _ = level_surfaces(unprojected(floors(wall=3.0).flip(1), focals()))
    assert not level.any()


def test_places_are_on_the_floor_and_things_fit_the_picture() -> None:
    """A foot in the air, a thing larger than the picture, one height for all."""
    depth = floors(batch=256)
    points = unprojected(depth, focals(256))
    draws = BatchDraws(256, seeded())
    places = draw_places(points, focals(256), torch.ones(256), draws)
    down = torch.tensor([0.0, math.cos(0.2), math.sin(0.2)])
    torch.testing.assert_close(
        (places.foot * down).sum(1), torch.full((256,), BELOW), atol=5e-3, rtol=0
    )
    assert places.there.float().mean() > 0.9
    seen = places.height * FOCAL / places.foot[:, 2].clamp_min(NEAREST)
    assert seen.median() < MOST_SEEN * ROWS and places.height.std() > 0.05
    # Floors have most pixels nearby, things are far away too.
    assert places.foot[:, 2].quantile(0.9) > 1.5


def test_a_picture_without_a_floor_stays_as_it_is() -> None:
    """Numbers that are none where no place was found, in the picture or its depth."""
    for depth in (torch.zeros(4, ROWS, COLUMNS), torch.full((4, ROWS, COLUMNS), 2.0)):
        before = samples(depth)
        after = Paste(grey(), compile=False)(before, 1.0, seeded())
        torch.testing.assert_close(after.image, before.image, atol=0, rtol=0)
        torch.testing.assert_close(after.depth, before.depth, atol=0, rtol=0)


def test_a_thing_has_its_size_and_place_by_the_pinhole_camera() -> None:
    """A thing beside its foot, of another size, with depth other than its foot's."""
    depth = torch.full((1, ROWS, COLUMNS), 4.0)
    image = torch.zeros(1, 3, ROWS, COLUMNS)
    white = torch.ones_like(image)
    places = standing(z=2.0, height=1.0, x=0.3)
    after, found = paste(image, depth, focals(1), places, upright(), white)
    thing = found[0] == 2.0
    assert (thing | (found[0] == 4.0)).all()
    rows, columns = thing.nonzero().unbind(1)
    # The foot is 0.5 below the camera: 20 pixels, the top as much above; 40 pixels are one unit.
    assert rows.min() == ROWS / 2 - 20 and rows.max() == ROWS / 2 + 20 - 1
    assert columns.float().mean() == pytest.approx(COLUMNS / 2 + 12 - 0.5, abs=0.1)
    assert thing.sum().item() == pytest.approx(math.pi * 10 * 20, rel=0.03)
    assert (after[0, 0][thing] > 0.4).all() and (after[0, 1:] == 0).all()


def test_nearer_surfaces_hide_a_thing_and_the_sky_does_not() -> None:
    """A thing before what hides it, or one that vanishes where depth is unknown."""
    depth = torch.full((1, ROWS, COLUMNS), 1.5)
    depth[:, :, COLUMNS // 2 :] = 0
    image = torch.zeros(1, 3, ROWS, COLUMNS)
    after, found = paste(image, depth, focals(1), standing(2.0, 1.0), upright(), image + 1)
    left, right = found[0, :, : COLUMNS // 2], found[0, :, COLUMNS // 2 :]
    assert (left == 1.5).all() and (after[..., : COLUMNS // 2] == 0).all()
    assert set(right.unique().tolist()) == {0.0, 2.0}


def test_a_bulging_thing_is_nearer_in_its_middle() -> None:
    """Depth behind the foot, or a cone instead of a ball."""
    depth = torch.full((1, ROWS, COLUMNS), 4.0)
    things = replace(upright(), bulge=torch.ones(1))
    image = torch.zeros(1, 3, ROWS, COLUMNS)
    _, found = paste(image, depth, focals(1), standing(2.0, 1.0), things, image + 1)
    # By half the width of the thing.
    assert found.min().item() == pytest.approx(2.0 - 0.25, abs=2e-3)
    middle = found[0, ROWS // 2, COLUMNS // 2 : COLUMNS // 2 + 10]
    assert (middle.diff() > 0).all() and (middle.diff().diff() > -1e-6).all()


def test_things_are_drawn_into_a_share_of_the_pictures_and_follow_the_generator() -> None:
    """All pictures or none, a picture without its depth, draws outside of the generator."""
    before = samples(floors(batch=64))
    pasting = Paste(grey(), compile=False)
    after = pasting(before, 0.5, seeded(1))
    changed = (after.depth != before.depth).flatten(1).any(1)
    assert 16 < changed.sum() < 48
    whole = (after.image == before.image).flatten(1).all(1)
    assert torch.equal(whole, ~changed)
    assert after.image.isfinite().all() and after.depth.isfinite().all()
    assert after.image.min() >= 0 and after.image.max() <= 1 and after.depth.min() > 0
    # Nothing lies behind what was there.
    assert (after.depth <= before.depth + 1e-6).all()
    torch.testing.assert_close(pasting(before, 0.5, seeded(1)).image, after.image, atol=0, rtol=0)
    assert not torch.equal(pasting(before, 0.5, seeded(2)).image, after.image)


def test_outlines_are_of_all_kinds() -> None:
    """Kinds that are never drawn, or rows of another length."""
    assert {len(kind) for kind in KINDS} == {LIMBS}
    assert len(SHARES) == len(SIZES) == len(KINDS) and sum(SHARES) == pytest.approx(1)
    things = draw_outlines(BatchDraws(400, seeded()))
    for size in set(SIZES):
        expected = sum(share for share, own in zip(SHARES, SIZES, strict=True) if own == size)
        assert (things.size == size).float().mean().item() == pytest.approx(expected, abs=0.07)
    assert (things.half_x > 0).all() and (things.half_y > 0).all()
    torch.testing.assert_close(things.light.norm(dim=1), torch.ones(400))
