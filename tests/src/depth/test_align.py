"""Alignment of depth maps: exact affine recovery, robustness, and the pull of the scale map."""

import pytest
import torch
from torch import Tensor

from src.depth.alignment import ScaleSettings, align_non_rigid, align_rigid
from src.runtime import InputError

INTRINSICS = torch.tensor([40.0, 42.0, 16.0, 12.0])
POSE = torch.eye(4)


def maps(slope: float, offset: float, noise: float = 0.0) -> tuple[Tensor, Tensor, Tensor]:
    """Source, target with affine inverse depth and multiplicative noise, full mask."""
    source = 1 + 3 * torch.rand(24, 32)
    target = 1 / (slope / source + offset) * (1 + noise * torch.randn(24, 32))
    return source, target, torch.ones(24, 32, dtype=torch.bool)


@pytest.mark.parametrize(("slope", "offset"), [(1.0, 0.0), (0.3, 0.2), (5.0, -0.4), (0.02, 1.0)])
def test_affine_inverse_depth_is_recovered(slope: float, offset: float) -> None:
    """Catches a fit of depth in the place of inverse depth, or one without offset."""
    source, target, mask = maps(slope, offset)
    torch.testing.assert_close(align_rigid(source, target, mask), target, rtol=1e-4, atol=0)


def test_outliers_beyond_the_quantiles_do_not_count() -> None:
    """Catches a fit over all pixels, which a bit of sky or one wrong object would bend."""
    source, target, mask = maps(0.5, 0.1)
    exact = target.clone()
    target[0], target[1] = 1e4, 1e-3
    aligned = align_rigid(source, target, mask)
    torch.testing.assert_close(aligned, exact, rtol=1e-4, atol=0)


def test_missing_depth_does_not_poison_the_fit() -> None:
    """Catches NaN, infinite and zero depth that turns the whole result into NaN."""
    source, target, mask = maps(0.5, 0.1)
    exact = target.clone()
    target[3], target[4], target[5], target[6] = 0, torch.nan, torch.inf, -1
    source[7, 0], source[7, 1] = torch.nan, torch.inf
    mask[8] = False
    for result in (
        align_rigid(source, target, mask),
        align_non_rigid(source, target, mask, INTRINSICS, POSE, ScaleSettings(steps=2)),
    ):
        usable = torch.ones_like(mask)
        usable[7, :2] = False
        assert result[7, 0].isnan() and result[usable].isfinite().all()
        torch.testing.assert_close(result[usable], exact[usable], rtol=5e-3, atol=0)


def test_the_fit_equals_least_squares_on_the_chosen_pixels() -> None:
    """Catches another selection than strictly inside the 10-90 % quantiles of both."""
    source, target, mask = maps(0.5, 0.1, noise=0.1)
    chosen = torch.ones_like(mask)
    for inverse in (1 / source, 1 / target):
        ordered = inverse.flatten().double().sort().values
        position = torch.tensor([0.1, 0.9], dtype=torch.float64) * (len(ordered) - 1)
        index = position.long()
        bounds = ordered[index].lerp(ordered[index + 1], position - index)
        chosen &= (inverse > bounds[0]) & (inverse < bounds[1])
    x, y = (1 / source[chosen]).double(), (1 / target[chosen]).double()
    columns = torch.stack((x, torch.ones_like(x)), dim=1)
    slope, offset = torch.linalg.lstsq(columns, y[:, None]).solution[:, 0]
    expected = (1 / (slope / source + offset)).float()
    torch.testing.assert_close(align_rigid(source, target, mask), expected, rtol=1e-5, atol=0)


def test_the_scale_map_moves_points_closer() -> None:
    """Catches a scale that is optimised away from the target, or not at all."""
    source, target, mask = maps(0.5, 0.1, noise=0.05)
    mask[:12] = False
    rigid = align_rigid(source, target, mask)
    before = (rigid - target).abs()
    aligned = align_non_rigid(source, target, mask, INTRINSICS, POSE)
    after = (aligned - target).abs()
    assert after[mask].mean() < 0.5 * before[mask].mean()
    # Unmasked pixels follow their neighbours only, and no scale leaves the reach of its steps.
    assert (aligned[:9] / rigid[:9] - 1).abs().mean() < 0.05
    assert (aligned / rigid - 1).abs().max() <= 100 * 1e-3 * 1.2
    smooth = ScaleSettings(smoothness=100.0)
    stiff = align_non_rigid(source, target, mask, INTRINSICS, POSE, smooth)
    spread = [(map_ / rigid)[13:-1, 1:-1].std().item() for map_ in (stiff, aligned)]
    assert spread[0] < 0.5 * spread[1]


def test_callers_without_gradients_get_the_same() -> None:
    """Catches an optimisation that needs its caller's gradient mode, or leaves gradients behind."""
    source, target, mask = maps(0.5, 0.1, noise=0.05)
    settings = ScaleSettings(steps=5)
    plain = align_non_rigid(source, target, mask, INTRINSICS, POSE, settings)
    assert not plain.requires_grad
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            inputs = source.clone(), target.clone(), mask.clone(), INTRINSICS.clone(), POSE.clone()
            assert torch.equal(align_non_rigid(*inputs, settings), plain)
    assert (
        align_non_rigid(source.requires_grad_(), target, mask, INTRINSICS, POSE, settings).grad_fn
        is None
    )


@pytest.mark.parametrize("kept", [0, 1, 2])
def test_too_few_pixels_are_an_input_error(kept: int) -> None:
    """Catches a division by zero that ends as NaN depth."""
    source, target, mask = maps(0.5, 0.1)
    target[:] = 0
    target[0, :kept], mask[:] = 2.0, False
    mask[0, :kept] = True
    with pytest.raises(InputError, match=r"\d+ of 768 pixels"):
        align_rigid(source, target, mask)


def test_constant_source_is_an_input_error() -> None:
    """Catches a fit of a slope to one depth."""
    _, target, mask = maps(0.5, 0.1)
    with pytest.raises(InputError, match="different source depth"):
        align_rigid(torch.full((24, 32), 2.0), target, mask)
