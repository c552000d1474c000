"""Ramps of depth at the edges of a picture."""

import math

import pytest
import torch
from torch import Tensor

from src.depth.edges import RAMP, snap_edges

HEIGHT, WIDTH, EDGE = 128, 96, 48


def ramp(low: float, high: float, length: int) -> Tensor:
    """A step at column `EDGE` that is blurred over `length` pixels, a little off its middle."""
    column = torch.arange(WIDTH) + 0.5 - EDGE + 0.1
    share = (0.5 + column / length).clamp(0, 1)
    return (low + (high - low) * share).expand(HEIGHT, WIDTH).clone()


def two_colors() -> Tensor:
    """A picture with a noisy edge in the same place."""
    image = torch.full((3, HEIGHT, WIDTH), 0.2)
    image[:, :, EDGE:] = 0.7
    noise = torch.rand(image.shape, generator=torch.Generator().manual_seed(0))
    return image + 0.04 * (noise - 0.5)


@pytest.mark.parametrize("scale", [1, 2])
def test_a_blurred_step_becomes_sharp_where_the_picture_has_its_edge(scale: int) -> None:
    """Ramps that stay, edges in another place, or a reach that does not follow the resolution."""
    depth, image = ramp(0.0, 1.0, 4), two_colors()
    depth = depth.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    image = image.repeat_interleave(scale, 1).repeat_interleave(scale, 2)
    truth = (torch.arange(WIDTH * scale) >= EDGE * scale).float().expand(HEIGHT * scale, -1)
    found = snap_edges(depth, image)
    before, after = ((part - truth).abs().sum() for part in (depth, found))
    # What remains are pixels whose neighbours on their side are a little blurred, too.
    assert after < 0.3 * before


def test_planes_and_small_steps_stay_to_the_bit() -> None:
    """A filter that flattens slopes into stairs along the picture's texture."""
    image = two_colors()
    plane = torch.linspace(0, 0.04 * HEIGHT, HEIGHT)[:, None].expand(HEIGHT, WIDTH).contiguous()
    assert torch.equal(snap_edges(plane, image), plane)
    small = ramp(0.0, 0.9 * RAMP, 4)
    assert torch.equal(snap_edges(small, image), small)


def test_values_are_those_of_neighbours() -> None:
    """Means of what lies before and behind: the ramp again."""
    steep = ramp(0.0, math.log(4), 4)
    # No colour tells the sides apart: each pixel takes the side of most of its neighbours.
    found = snap_edges(steep, torch.full((3, HEIGHT, WIDTH), 0.5))
    assert set(found.unique().tolist()) <= set(steep.unique().tolist())
    assert torch.equal(found, found[:1].expand_as(found)) and (found.diff(dim=1) >= 0).all()


def test_the_given_depth_is_not_changed() -> None:
    """A result that is written over the network's."""
    depth = ramp(0.0, 1.0, 4)
    kept = depth.clone()
    snap_edges(depth, two_colors())
    assert torch.equal(depth, kept)
