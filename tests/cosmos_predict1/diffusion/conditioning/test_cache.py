"""The 3D cache: who sees which source, what is inserted where, at which scale."""

from typing import Literal

import pytest
import torch
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.cache import (
    FARTHEST_DEPTH,
    CacheSettings,
    PointCache,
    SourceFrames,
    center_depth,
)
from src.geometry.trajectories import TrajectorySpec, make_trajectory
from src.geometry.warping import point_frames, warp_frames
from src.runtime import InputError

HEIGHT, WIDTH = 24, 40
LENS = torch.tensor([36.0, 36.0, 20.0, 12.0])


def slope(frames: int = 1) -> Tensor:
    """Depth of a floor that rises to the left: nowhere an edge, nowhere constant."""
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    return (1.5 + 0.004 * x + 0.006 * y).expand(frames, -1, -1).clone()


def sources(frames: int = 1, depth: Tensor | None = None) -> SourceFrames:
    image = torch.rand(frames, 3, HEIGHT, WIDTH) * 2 - 1
    depth = slope(frames) if depth is None else depth
    poses = torch.eye(4).repeat(frames, 1, 1)
    return SourceFrames(image, depth, LENS.repeat(frames, 1), poses)


def cameras(frames: int) -> tuple[Tensor, Tensor]:
    poses = make_trajectory(TrajectorySpec("left", 0.2), frames)
    return LENS.repeat(frames, 1), poses


def test_the_source_camera_sees_the_source() -> None:
    """Catches swapped dimensions, and buffers and frames that change places."""
    source = sources()
    warps = PointCache(source).render(*cameras(3))
    assert warps.image.shape == (1, 3, 3, HEIGHT, WIDTH)
    assert warps.mask.shape == warps.depth.shape == (1, 3, HEIGHT, WIDTH)
    seen = warps.mask[0, 0]
    assert seen.float().mean() > 0.5
    torch.testing.assert_close(
        warps.image[0, 0][:, seen], source.image[0][:, seen], atol=1e-5, rtol=0
    )
    assert (warps.image[0, 0][:, ~seen] == -1).all()


def test_a_moving_scene_renders_any_stretch_of_itself() -> None:
    """Catches a part of the sources, such as the boundary mask, that is not sliced in time."""
    depth = slope(6)
    depth[:, 8:16, 10:20] *= torch.linspace(0.5, 0.7, 6)[:, None, None]
    cache = PointCache(sources(6, depth), moving=True)
    lens, poses = cameras(6)
    whole = cache.render(lens, poses)
    for start, stop in ((0, 2), (2, 6), (4, 5)):
        part = cache.render(lens[start:stop], poses[start:stop], start)
        # The last stretch ends between the frames of a pair, whose common scale it lacks.
        tolerance = 1e-5 if stop % 2 == 0 else 0.1
        torch.testing.assert_close(
            part.image, whole.image[:, start:stop], atol=tolerance, rtol=0, msg=f"{start}"
        )
        assert torch.equal(part.mask, whole.mask[:, start:stop])
    hidden = PointCache(sources(6, depth), CacheSettings(foreground_masking=False), moving=True)
    assert hidden.render(lens, poses).mask.sum() > whole.mask.sum()


@pytest.mark.parametrize("at_once", [2, 4])
def test_a_moving_scene_in_parts_is_the_same(at_once: int) -> None:
    """Catches frames that see another part's points, and pairs that are cut in two."""
    depth = slope(9)
    depth[:, 8:16, 10:20] *= torch.linspace(0.5, 0.7, 9)[:, None, None]
    source = sources(9, depth)
    lens, poses = cameras(7)
    wanted = PointCache(source, moving=True).render(lens, poses, 1)
    found = PointCache(source, moving=True, at_once=at_once).render(lens, poses, 1)
    for name, part in vars(wanted).items():
        assert torch.equal(getattr(found, name), part), name


@pytest.mark.parametrize("at_once", [0, 2])
def test_a_moving_scene_refuses_frames_that_it_lacks(at_once: int) -> None:
    """Catches a silent repetition of earlier frames."""
    cache = PointCache(sources(4), moving=True, at_once=at_once)
    with pytest.raises(InputError, match="frames 2 to 4"):
        cache.render(*cameras(3), start=2)
    with pytest.raises(AssertionError):
        cache.insert(sources())


def test_the_cache_agrees_with_the_warps_in_float32() -> None:
    """Catches masks, thresholds or clamps that the cache forgets to hand on."""
    depth = slope()
    depth[:, 4:12, 6:20] = 0.9
    depth[:, 20:, 30:] = 500
    source, targets = sources(depth=depth), cameras(4)
    mask = torch.rand(1, HEIGHT, WIDTH) > 0.1
    source = SourceFrames(source.image, depth, source.intrinsics, source.w2c, mask)
    for masking in (False, True):
        settings = CacheSettings(threshold=0.1, foreground_masking=masking)
        warps = PointCache(source, settings).render(*targets)
        frames = point_frames(
            source.image,
            depth.clamp(max=FARTHEST_DEPTH),
            source.intrinsics,
            source.w2c,
            0.1,
            mask,
            foreground_masking=masking,
        )
        expected = warp_frames(frames, *targets)
        # Rounding fills single pixels beside holes, see `lift`.
        differ = (warps.mask[0] != expected.mask).float().mean()
        assert differ < 0.02
        # Not at the source camera itself, where rounding also decides who blends.
        both = (warps.mask[0] & expected.mask)[1:]
        error = (warps.image[0] - expected.image)[1:].abs().amax(1)[both]
        assert error.quantile(0.98) < 1e-3


@pytest.mark.parametrize("alignment", ["rigid", "non_rigid"])
def test_an_inserted_frame_is_brought_to_scale(alignment: Literal["rigid", "non_rigid"]) -> None:
    """Catches an alignment that is skipped, or done against the wrong camera."""
    base = sources()
    cache = PointCache(base)
    lens, poses = cameras(5)
    known = cache.render(lens[4:], poses[4:])
    truth = known.depth[0]
    # Another scale and another shift of inverse depth: what a depth network leaves open.
    wrong = 1 / (0.4 / truth.where(known.mask[0], 1.6) + 0.3)
    frame = SourceFrames(torch.rand(1, 3, HEIGHT, WIDTH), wrong, lens[4:], poses[4:])
    cache.insert(frame, alignment)
    warps = cache.render(lens, poses)
    assert len(warps.image) == cache.buffers == 2
    both = warps.mask.all(dim=0)
    assert both.float().mean() > 0.4
    error = (warps.depth[0] / warps.depth[1] - 1)[both].abs()
    assert error.median() < 0.01
    # Newest first: at its own camera the first buffer shows the new frame.
    seen = warps.mask[0, 4]
    difference = (warps.image[0, 4] - frame.image[0]).abs().amax(0)[seen]
    assert difference.median() < 1e-4


def test_a_full_cache_drops_the_newest_and_keeps_the_first_frame() -> None:
    """Catches a cache that grows, or loses the original picture."""
    base = sources()
    cache = PointCache(base)
    lens, poses = cameras(3)
    inserted = []
    for value in (-0.5, 0.5, 0.8):
        image = torch.full((1, 3, HEIGHT, WIDTH), value)
        inserted.append(SourceFrames(image, slope(), lens[:1], poses[:1]))
        cache.insert(inserted[-1], "rigid")
    warps = cache.render(lens[:1], poses[:1])
    assert len(warps.image) == 2
    seen = warps.mask[0, 0] & warps.mask[1, 0]
    assert torch.allclose(warps.image[0, 0][:, seen], torch.tensor(0.8))
    torch.testing.assert_close(
        warps.image[1, 0][:, seen], base.image[0][:, seen], atol=1e-4, rtol=0
    )


def test_one_buffer_only_replaces_the_picture() -> None:
    """Catches a limit of one that is taken for two."""
    cache = PointCache(sources(), CacheSettings(buffers=1))
    lens, poses = cameras(1)
    new = SourceFrames(torch.full((1, 3, HEIGHT, WIDTH), 0.25), slope(), lens, poses)
    cache.insert(new, "rigid")
    warps = cache.render(lens, poses)
    assert len(warps.image) == 1
    assert torch.allclose(warps.image[0, 0][:, warps.mask[0, 0]], torch.tensor(0.25))


def test_a_frame_from_elsewhere_cannot_be_aligned() -> None:
    """Catches an insertion at an arbitrary scale where the cache shows nothing."""
    cache = PointCache(sources())
    away = torch.eye(4)
    away[2, 3] = -1000.0
    frame = SourceFrames(torch.zeros(1, 3, HEIGHT, WIDTH), slope(), LENS[None], away[None])
    with pytest.raises(InputError, match="target depth"):
        cache.insert(frame)


def test_unknown_and_far_depth_stand_at_the_farthest() -> None:
    """Catches NaN and infinite depth on the way to the points."""
    depth = slope()
    depth[:, :6] = 1000.0
    depth[:, 6:12] = torch.nan
    depth[:, 12:18] = torch.inf
    warps = PointCache(sources(depth=depth)).render(*cameras(2))
    assert warps.image.isfinite().all() and warps.depth.isfinite().all()
    sky = warps.depth[0, 0, 3:12, 5:-5]
    assert torch.allclose(sky, torch.tensor(FARTHEST_DEPTH), rtol=1e-4)


@pytest.mark.parametrize("bad", [{"threshold": 0.0}, {"threshold": float("nan")}, {"buffers": 0}])
def test_settings_that_leave_nothing_are_refused(bad: dict) -> None:
    """Catches a threshold or a limit that makes every warp empty."""
    with pytest.raises(InputError):
        CacheSettings(**bad)


def test_the_centre_depth_is_the_median() -> None:
    """Catches the lower median of an even count, zeros that count, and other frames."""
    depth = torch.tensor([[[1.0, 2.0], [3.0, 8.0]], [[50.0, 50.0], [50.0, 50.0]]])
    assert center_depth(depth) == 2.5
    depth[0, 0, 0] = 0
    assert center_depth(depth) == 3.0
    assert center_depth(depth, published=True) == 2.5
    with pytest.raises(InputError, match="first frame"):
        center_depth(torch.zeros(1, 2, 2))


@pytest.mark.parametrize(("threshold", "drop", "seen"), [(1.0, True, 0), (1.0, False, 1)])
def test_without_a_filter_the_mask_counts_unless_the_original_is_asked_for(
    threshold: float, drop: bool, seen: int
) -> None:
    """Pixels without depth that become points in front of the camera, though they were masked."""
    source, targets = sources(), cameras(1)
    mask = torch.zeros(1, HEIGHT, WIDTH, dtype=torch.bool)
    source = SourceFrames(source.image, source.depth, source.intrinsics, source.w2c, mask)
    settings = CacheSettings(threshold=threshold, foreground_masking=False, drop_invalid=drop)
    assert float(PointCache(source, settings).render(*targets).mask.any()) == seen
