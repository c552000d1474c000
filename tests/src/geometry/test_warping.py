"""Warping of frames: exact where positions are integers, and what must not change the result."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from src.geometry.warping import PointFrames, Warp, lift, point_frames, warp_frames

HEIGHT, WIDTH, FOCAL = 24, 32, 16.0
# Powers of two: projecting unprojected pixels is exact for depths of 2, 4 and 8, in which the
# divisor's epsilon of 1e-7 is lost.
INTRINSICS = torch.tensor([FOCAL, FOCAL, 16.0, 8.0])


def poses(*centres: tuple[float, float, float]) -> Tensor:
    """World-to-camera poses that look along z from `centres`."""
    w2c = torch.eye(4).repeat(len(centres), 1, 1)
    w2c[:, :3, 3] = -torch.tensor(centres)
    return w2c


def sources(
    depth: Tensor,
    threshold: float = 0.05,
    mask: Tensor | None = None,
    foreground_masking: bool = True,
) -> PointFrames:
    """Frames with random colours, all from the camera at the origin."""
    count = len(depth)
    return point_frames(
        1.8 * torch.rand(count, 3, *depth.shape[1:]) - 0.9,
        depth,
        cameras(count),
        poses((0, 0, 0)).repeat(count, 1, 1),
        threshold,
        mask,
        foreground_masking=foreground_masking,
    )


def box_scene(count: int = 1) -> Tensor:
    """Depth of a box at 2 before a wall at 8, moving to the right from frame to frame."""
    depth = torch.full((count, HEIGHT, WIDTH), 8.0)
    for index in range(count):
        depth[index, 8:16, 8 + index : 16 + index] = 2
    return depth


def path(count: int) -> Tensor:
    """Poses that move aside, up and forward."""
    return poses(*[(0.06 * i - 0.1, 0.04 * i, 0.08 * i) for i in range(count)])


def cameras(count: int) -> Tensor:
    return INTRINSICS.repeat(count, 1)


def assert_same(ours: Warp, expected: Warp) -> None:
    assert torch.equal(ours.mask, expected.mask)
    torch.testing.assert_close(ours.image, expected.image, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(ours.depth, expected.depth, rtol=1e-5, atol=1e-6)


def test_the_source_camera_sees_the_source_image() -> None:
    """Catches pixel centres at half integers, and weights that blend neighbours at integers."""
    frames = sources(
        2 ** torch.randint(1, 4, (1, HEIGHT, WIDTH)).float(),
        threshold=1.0,
        foreground_masking=False,
    )
    warp = warp_frames(frames, cameras(1), poses((0, 0, 0)))
    assert warp.mask.all()
    torch.testing.assert_close(warp.image, frames.image)
    torch.testing.assert_close(warp.depth, frames.points[..., 2])


@pytest.mark.parametrize("shift", [(3, 0), (-2, 5), (0, -4)])
def test_a_wall_moves_by_its_disparity(shift: tuple[int, int]) -> None:
    """Catches axes or signs that are swapped; f x / z is an integer number of pixels."""
    dx, dy = shift
    frames = sources(torch.full((1, HEIGHT, WIDTH), 4.0), threshold=1.0, foreground_masking=False)
    warp = warp_frames(frames, cameras(1), poses((-dx * 4 / FOCAL, -dy * 4 / FOCAL, 0)))
    seen = torch.full((HEIGHT, WIDTH), False)
    seen[max(dy, 0) : HEIGHT + min(dy, 0), max(dx, 0) : WIDTH + min(dx, 0)] = True
    assert torch.equal(warp.mask[0], seen)
    moved = frames.image[0].roll((dy, dx), dims=(1, 2))
    torch.testing.assert_close(warp.image[0], moved.where(seen, -1))


def test_a_near_box_covers_a_far_wall() -> None:
    """Catches depth weights that let the background through."""
    frames = sources(box_scene(), threshold=1.0, foreground_masking=False)
    frames = replace(
        frames, image=(frames.points[..., 2] < 4).float()[:, None].expand(1, 3, -1, -1)
    )
    warp = warp_frames(frames, cameras(1), poses((-0.5, 0, 0)))
    # The box moves by 4 pixels, the wall by 1: columns 9 to 11 of the box's rows lie bare.
    assert not warp.mask[0, 8:16, 9:12].any()
    assert (warp.image[0, :, 8:16, 12:20] > 0.999).all()
    assert (warp.image[0, :, 8:16, 20:] < 1e-3).all()


def test_foreground_edges_hide_what_lies_behind() -> None:
    """Catches masking that is off, inverted, or that leaves colours or depth behind."""
    depth, target = box_scene(), poses((-0.8, 0.2, 0.6))
    frames = sources(depth)
    bare = warp_frames(replace(frames, boundary=None), cameras(1), target)
    warp = warp_frames(frames, cameras(1), target)
    hidden = bare.mask & ~warp.mask
    assert hidden.any() and not (warp.mask & ~bare.mask).any()
    assert (bare.depth[hidden] > 4).all()
    assert (warp.image.movedim(1, -1)[~warp.mask] == -1).all()
    assert (warp.depth[~warp.mask] == 0).all()
    assert torch.equal(warp.image.movedim(1, -1)[warp.mask], bare.image.movedim(1, -1)[warp.mask])


@pytest.mark.parametrize("count", [1, 4, 5])
@pytest.mark.parametrize("moving", [False, True])
def test_the_chunk_size_changes_nothing(count: int, moving: bool) -> None:
    """Catches pairs that are cut apart, and sources that are counted from the chunk's start."""
    frames = sources(box_scene(count if moving else 1))
    whole = warp_frames(frames, cameras(count), path(count))
    for frames_per_chunk in (1, 2, 3):
        samples = frames_per_chunk * HEIGHT * WIDTH
        assert_same(
            warp_frames(frames, cameras(count), path(count), samples_per_chunk=samples), whole
        )


def test_a_still_scene_is_a_moving_one_that_repeats() -> None:
    """Catches a difference between the two ways in which sources are picked."""
    frames = sources(box_scene())
    assert frames.mask is not None and frames.boundary is not None
    repeated = PointFrames(
        frames.points.repeat(5, 1, 1, 1),
        frames.image.repeat(5, 1, 1, 1),
        frames.mask.repeat(5, 1, 1),
        frames.boundary.repeat(5, 1, 1),
    )
    still = warp_frames(frames, cameras(5), path(5))
    assert_same(warp_frames(repeated, cameras(5), path(5)), still)


def test_buffers_take_turns() -> None:
    """Catches buffers of a cache that are picked in blocks: targets repeat, buffers alternate."""
    depth = torch.stack((box_scene()[0], torch.full((HEIGHT, WIDTH), 3.0)))
    frames, twice = sources(depth), path(3).repeat_interleave(2, dim=0)
    warp = warp_frames(frames, cameras(6), twice)
    for target in range(3):
        pair = slice(2 * target, 2 * target + 2)
        expected = warp_frames(frames, cameras(2), twice[pair])
        assert_same(Warp(warp.image[pair], warp.mask[pair], warp.depth[pair]), expected)


def test_a_last_single_frame_is_a_pair_of_its_own() -> None:
    """Catches a normaliser over more than two frames, or one that reaches over the end."""
    frames, w2c = sources(box_scene()), path(5)
    warp, last = warp_frames(frames, cameras(5), w2c), warp_frames(frames, cameras(1), w2c[4:])
    assert_same(Warp(warp.image[4:], warp.mask[4:], warp.depth[4:]), last)


def test_points_behind_the_camera_are_not_seen() -> None:
    """Catches the mirror image of what lies behind; the camera stands between box and wall."""
    frames = sources(box_scene(), foreground_masking=False)
    warp = warp_frames(frames, cameras(1), poses((0, 0, 3)))
    assert warp.mask.any()
    assert (warp.depth[warp.mask] > 4.9).all()
    # The mesh leads from the box past the camera to the wall, and hides what is outside of it.
    hidden = warp_frames(sources(box_scene()), cameras(1), poses((0, 0, 3)))
    assert 0 < hidden.mask.sum() < warp.mask.sum()
    nothing = warp_frames(sources(box_scene()), cameras(1), poses((0, 0, 9)))
    assert not nothing.mask.any() and nothing.image.isfinite().all()


def test_a_frame_without_depth_is_warped_nowhere() -> None:
    """Catches points at the world's origin that are splatted, or a mesh without area."""
    frames = sources(torch.zeros(1, HEIGHT, WIDTH))
    assert (frames.points == 0).all()
    assert not warp_frames(frames, cameras(3), path(3)).mask.any()
    # Published: a threshold of 1 warps even these, here to the pixel of the world's origin.
    everything = sources(torch.zeros(1, HEIGHT, WIDTH), threshold=1.0, foreground_masking=False)
    assert warp_frames(everything, cameras(1), poses((0, 0, -2))).mask.sum() == 1


def test_lifted_pixels_lie_on_their_rays() -> None:
    """Catches half-pixel centres, an inverse on the wrong side, and depth of 0 off the origin."""
    w2c = path(2)
    w2c[:, :3, :3] = torch.linalg.qr(torch.randn(2, 3, 3)).Q
    depth = 1 + torch.rand(2, 3, 5)
    depth[1, 2, 4] = 0
    points = lift(depth, cameras(2), w2c)
    for frame, row, column in depth.nonzero().tolist():
        x, y, z = (w2c[frame, :3, :3] @ points[frame, row, column] + w2c[frame, :3, 3]).tolist()
        assert z == pytest.approx(depth[frame, row, column].item(), abs=1e-5)
        assert FOCAL * x / z + 16 == pytest.approx(column, abs=1e-4)
        assert FOCAL * y / z + 8 == pytest.approx(row, abs=1e-4)
    assert (points[1, 2, 4] == 0).all()


@pytest.mark.parametrize("threshold", [0.02, 0.5, 1.0])
def test_masks_of_point_frames(threshold: float) -> None:
    """Catches a boundary that follows the threshold, and a mask that is ignored or inverted."""
    depth, mask = box_scene(), torch.rand(1, HEIGHT, WIDTH) > 0.5
    frames, masked = sources(depth, threshold), sources(depth, threshold, mask)
    assert frames.boundary is not None and frames.boundary.any()
    torch.testing.assert_close(frames.boundary, sources(depth).boundary)
    assert (frames.mask is None) == (threshold >= 1)
    reliable = torch.ones_like(mask) if frames.mask is None else frames.mask
    assert masked.mask is not None and torch.equal(masked.mask, reliable & mask)


def test_gradients_reach_the_image() -> None:
    """Catches in-place steps that break autograd."""
    frames = sources(box_scene())
    image = frames.image.clone().requires_grad_()
    warp_frames(replace(frames, image=image), cameras(3), path(3)).image.sum().backward()
    assert image.grad is not None and image.grad.abs().sum() > 0


@pytest.mark.gpu
def test_the_gpu_agrees() -> None:
    """Catches an operation that differs between devices; near ties of atomics may flip a pixel."""
    frames = sources(box_scene(5))
    assert frames.mask is not None and frames.boundary is not None
    on_gpu = PointFrames(
        frames.points.cuda(), frames.image.cuda(), frames.mask.cuda(), frames.boundary.cuda()
    )
    ours = warp_frames(on_gpu, cameras(5).cuda(), path(5).cuda())
    expected = warp_frames(frames, cameras(5), path(5))
    same = ours.mask.cpu() == expected.mask
    assert same.float().mean() > 0.99
    close = (ours.image.cpu() - expected.image).abs().amax(dim=1) < 1e-3
    assert (close | ~same).float().mean() > 0.99
