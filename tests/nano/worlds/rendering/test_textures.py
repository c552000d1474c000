from dataclasses import replace

import pytest
import torch
from torch import Tensor

from nano.worlds.rendering.textures import (
    PATTERN_FUNCTIONS,
    SIZE,
    Spot,
    brick_tint,
    noise_volume,
    sample_noise,
)

COUNT = 4000


def spot(width: float, aspect: float = 2.0) -> Spot:
    """Random places on a face, with parameters like those of objects."""
    local = torch.rand(3, 1, COUNT) - 0.5

    def full(value: float) -> Tensor:
        return torch.full((1, COUNT), value)

    return Spot(
        local=local,
        u=local[0],
        v=local[1],
        u_width=full(width),
        v_width=full(width),
        noise=torch.randn(1, COUNT).clamp(-2, 2),
        frequency=full(5.0),
        aspect=full(aspect),
        cos=full(0.8),
        sin=full(0.6),
        level=full(0.1),
        softness=full(0.05),
        warp=full(0.1),
    )


@pytest.mark.parametrize("name", PATTERN_FUNCTIONS)
def test_patterns_blend_within_zero_and_one_and_use_the_range(name: str) -> None:
    """Catches a blend that leaves the two colours, or shows only one of them."""
    blend = PATTERN_FUNCTIONS[name](spot(0.002))
    assert blend.min() >= 0 and blend.max() <= 1
    assert blend.max() - blend.min() > 0.5


@pytest.mark.parametrize("name", ["stripes", "marble", "wood", "bricks", "dots"])
def test_repeats_narrower_than_a_pixel_fade(name: str) -> None:
    """Catches aliasing: far away, where a pixel covers repeats, a pattern must be flat."""
    assert PATTERN_FUNCTIONS[name](spot(0.4)).std() < 1e-3
    assert brick_tint(spot(0.4)).std() < 1e-6


def test_bricks_have_mortar_at_the_edges_of_cells_and_shifted_rows() -> None:
    """Catches mortar in the middle of bricks and rows that are not shifted."""
    one = spot(0.001)
    # Middle of a brick in an even row, of one in an odd row, an edge, a joint between rows.
    u = torch.tensor([[0.1, 0.2, 0.0, 0.1]])
    v = torch.tensor([[0.05, 0.15, 0.05, 0.1]])
    parts = {name: value[..., :4] for name, value in vars(one).items()}
    place = replace(Spot(**parts), u=u, v=v)
    torch.testing.assert_close(
        PATTERN_FUNCTIONS["bricks"](place), torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    )


def test_dots_are_round() -> None:
    """Catches a metric other than the Euclidean one."""
    place = replace(spot(0.001), level=torch.full((1, COUNT), 0.3))
    inside = PATTERN_FUNCTIONS["dots"](place) > 0.5
    assert inside.float().mean() == pytest.approx(torch.pi * 0.3**2, abs=0.03)


def test_noise_is_periodic_continuous_and_of_unit_variance() -> None:
    """Catches seams at the period, and a swap of axes or a shift by half a voxel."""
    volume, position = noise_volume(torch.device("cpu")), torch.rand(3, 1, 500)
    value = sample_noise(volume, position)
    torch.testing.assert_close(sample_noise(volume, position + 3), value, atol=2e-4, rtol=0)
    near = sample_noise(volume, position + 1e-4)
    assert (near - value).abs().max() < 0.02
    assert 0.6 < value.std() < 1.4
    assert value.abs().max() <= 2.0001


def test_noise_at_a_voxel_is_the_volume() -> None:
    """Catches coordinates that reach the volume in the wrong order."""
    volume = noise_volume(torch.device("cpu"))
    voxel = torch.tensor([5, 40, 17])
    value = sample_noise(volume, (voxel / SIZE)[:, None, None])
    # The sampler's first volume axis is the last of its coordinates.
    torch.testing.assert_close(value[:, 0, 0], volume[0, :, 17, 40, 5], atol=1e-4, rtol=0)
