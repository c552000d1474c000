"""Splatting against loops over samples, and what a soft z-buffer must keep."""

import math

import pytest
import torch
from torch import Tensor

from src.geometry.warping import Samples, Warp, splat

HEIGHT, WIDTH = 5, 7


def brute_force(samples: Samples) -> tuple[Tensor, Tensor, Tensor]:
    """One sample and corner at a time, on a canvas with an apron of one pixel, in float64."""
    targets, count = samples.z.shape
    sums = torch.zeros(targets, HEIGHT + 2, WIDTH + 2, 5, dtype=torch.float64)
    for t in range(targets):
        first = t - t % 2
        peak = samples.z[first : first + 2].clamp_min(0).double().log1p().max().item()
        for n in range(count):
            z, mask = samples.z[t, n].item(), samples.mask
            if z <= 0 or (mask is not None and not mask[min(t, len(mask) - 1), n]):
                continue
            blend = math.exp(min(50 * math.log1p(z) / (peak + 1e-7), 80)) + 1e-7
            u, v = ((samples.xy[t, n] + 1).clamp_min(0)).tolist()
            u, v = min(u, WIDTH + 1), min(v, HEIGHT + 1)
            value = [*samples.rgb[min(t, len(samples.rgb) - 1), :, n].tolist(), z, 1]
            for column in (math.floor(u), math.ceil(u)):
                for row in (math.floor(v), math.ceil(v)):
                    weight = (1 - abs(u - column)) * (1 - abs(v - row)) / blend
                    sums[t, row, column] += weight * torch.tensor(value, dtype=torch.float64)
    inner = sums[:, 1:-1, 1:-1]
    mask = inner[..., 4] > 0
    values = inner[..., :4] / inner[..., 4:].clamp_min(1e-300)
    image = values[..., :3].where(mask[..., None], -1).clamp(-1, 1).movedim(-1, 1)
    return image, mask, values[..., 3].where(mask, 0)


def assert_same(warp: Warp, expected: tuple[Tensor, Tensor, Tensor]) -> None:
    image, mask, depth = expected
    assert torch.equal(warp.mask, mask)
    torch.testing.assert_close(warp.image, image, check_dtype=False, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(warp.depth, depth, check_dtype=False, rtol=1e-4, atol=1e-5)


def random_samples(targets: int, shared: bool) -> Samples:
    """Samples in and around the frame, some at integers, behind the camera, or not counted."""
    count = 60
    xy = torch.rand(targets, count, 2) * torch.tensor([WIDTH + 4.0, HEIGHT + 4.0]) - 2.5
    xy[:, ::5] = xy[:, ::5].round()
    xy[:, 1::10, 0] = xy[:, 1::10, 0].round()
    xy[:, 7] = torch.tensor([-1e30, 1e30])
    z = 3 * torch.rand(targets, count) - 0.3
    z[:, 11] = 0
    z[targets - 1] *= 4
    sources = 1 if shared else targets
    rgb = 2.4 * torch.rand(sources, 3, count) - 1.2
    return Samples(xy, z, rgb, torch.rand(sources, count) > 0.3)


@pytest.mark.parametrize("targets", [1, 2, 3, 4])
@pytest.mark.parametrize("shared", [True, False])
def test_splats_are_those_of_a_loop_over_samples(targets: int, shared: bool) -> None:
    """Catches wrong weights, pairs, aprons, fills, masks, or weights at integer positions."""
    samples = random_samples(targets, shared)
    assert_same(splat(samples, HEIGHT, WIDTH), brute_force(samples))
    everything = Samples(samples.xy, samples.z, samples.rgb)
    assert_same(splat(everything, HEIGHT, WIDTH), brute_force(everything))


def test_the_nearer_of_two_surfaces_wins() -> None:
    """Catches an inverted depth weight."""
    xy = torch.tensor([[[3.0, 2.0], [3.0, 2.0]]])
    for near in (0, 1):
        z = torch.tensor([[2.0, 2.0]])
        z[0, near] = 1
        rgb = torch.tensor([[[0.5, -0.5]] * 3])
        warp = splat(Samples(xy, z, rgb), HEIGHT, WIDTH)
        assert warp.depth[0, 2, 3].item() == pytest.approx(1, abs=1e-4)
        assert warp.image[0, 0, 2, 3].item() == pytest.approx((0.5, -0.5)[near], abs=1e-4)


def test_positions_that_are_no_numbers_leave_no_trace() -> None:
    """Catches 0 / 0 of points in the camera's plane that spreads over the picture."""
    samples = random_samples(2, shared=False)
    expected = splat(samples, HEIGHT, WIDTH)
    broken = samples.xy.clone()
    broken[samples.z <= 0] = torch.tensor([torch.nan, torch.inf])
    warp = splat(Samples(broken, samples.z, samples.rgb, samples.mask), HEIGHT, WIDTH)
    assert (samples.z <= 0).any()
    for ours, reference in ((warp.image, expected.image), (warp.depth, expected.depth)):
        assert torch.equal(ours, reference)


def test_no_samples_leave_an_empty_frame() -> None:
    """Catches a maximum over nothing that counts."""
    samples = Samples(torch.zeros(3, 4, 2), -torch.ones(3, 4), torch.ones(1, 3, 4))
    warp = splat(samples, HEIGHT, WIDTH)
    assert not warp.mask.any()
    assert (warp.image == -1).all() and (warp.depth == 0).all()


def test_gradients_of_colours_and_positions() -> None:
    """Catches an operation in place or a division in holes that breaks training through a warp."""
    samples = random_samples(2, shared=False)
    assert samples.mask is not None
    z, mask = samples.z[:, :12].double(), samples.mask[:, :12]
    xy = (samples.xy[:, :12].double() + 0.013).clamp(-3, 9).requires_grad_()
    rgb = (0.5 * samples.rgb[..., :12].double()).requires_grad_()

    def blend(xy: Tensor, rgb: Tensor) -> Tensor:
        return splat(Samples(xy, z, rgb, mask), HEIGHT, WIDTH).image

    assert torch.autograd.gradcheck(blend, (xy, rgb), eps=1e-7, atol=1e-4)
