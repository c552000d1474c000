"""The head's activations and the choice of kept Gaussians."""

import math

import pytest
import torch

from src.models.recon.heads import activate, keep_count, keep_indices

# The published ranges.
LIMITS = {"near": 0.1, "far": 500.0, "distance_shift": -1.65, "scale_cap": 0.3}


def test_activations_at_zero_have_the_known_values() -> None:
    """Catches a wrong shift, a wrong channel order, a scale without its cap."""
    raw = torch.zeros(1, 12)
    raw[0, 7] = 2.0
    origin, direction = torch.tensor([[1.0, 2, 3]]), torch.tensor([[0.0, 0, 1]])
    gaussians = activate(raw, origin, direction, **LIMITS)
    share = 1 / (1 + math.exp(1.65))
    depth = 0.1 * (1 - share) + 500 * share
    torch.testing.assert_close(gaussians.means, torch.tensor([[1.0, 2, 3 + depth]]))
    assert depth == pytest.approx(80.5, abs=0.2)
    assert gaussians.opacities.item() == pytest.approx(1 / (1 + math.exp(2)))
    torch.testing.assert_close(gaussians.scales, torch.full((1, 3), 0.3 / math.e))
    torch.testing.assert_close(gaussians.quats, torch.tensor([[1.0, 0, 0, 0]]))
    torch.testing.assert_close(gaussians.colors, torch.full((1, 3), 0.5))


def test_each_channel_moves_its_own_parameter() -> None:
    """Catches channels that were exchanged: colour, scale and rotation look alike at random."""
    base = torch.zeros(1, 12)
    base[0, 7] = 1.0
    rays = torch.zeros(1, 3), torch.ones(1, 3)
    before = activate(base, *rays, **LIMITS).packed()[0]
    moved = {0: [0, 1, 2], 1: [11], 3: [13], 4: [4], 6: [6], 8: [7, 8], 10: [7, 10], 11: [3]}
    for channel, expected in moved.items():
        raw = base.clone()
        raw[0, channel] += 0.5
        after = activate(raw, *rays, **LIMITS).packed()[0]
        assert (after != before).nonzero()[:, 0].tolist() == expected, channel


def test_ranges_hold_far_out() -> None:
    """Catches scales beyond their cap, depths beyond near and far, NaN rotations."""
    raw = torch.cat((torch.full((1, 12), -1e3), torch.full((1, 12), 1e3), torch.zeros(1, 12)))
    rays = torch.zeros(3, 3), torch.tensor([[0.0, 0, 1]] * 3)
    gaussians = activate(raw, *rays, **LIMITS | {"near": 0.5, "far": 20.0, "scale_cap": 0.1})
    assert gaussians.packed().isfinite().all()
    assert gaussians.scales.max() <= 0.1
    torch.testing.assert_close(gaussians.means[:2, 2], torch.tensor([0.5, 20.0]))


def test_bfloat16_quantises_near_depths() -> None:
    """Catches a parity head that computes in float32, which would hide what it must reproduce."""
    raw = torch.zeros(2000, 12)
    raw[:, 0] = torch.linspace(-6, -4, 2000)
    rays = torch.zeros(2000, 3), torch.tensor([[0.0, 0, 1]] * 2000)
    fine = activate(raw, *rays, **LIMITS).means[:, 2].unique()
    coarse = activate(raw.bfloat16(), rays[0].bfloat16(), rays[1].bfloat16(), **LIMITS)
    assert coarse.means.dtype == torch.bfloat16
    assert len(fine) > 1000 > 200 > len(coarse.means[:, 2].unique())


def test_count_keeps_the_published_arithmetic() -> None:
    """Catches a rounded product: the published models keep one Gaussian less."""
    assert 6 * 121 * 88 * 160 == 10_222_080
    assert keep_count(10_222_080, 0.8) == 2_044_415
    assert keep_count(10, 0.0) == 10
    with pytest.raises(AssertionError, match="1.5"):
        keep_count(10, 1.5)


def test_the_highest_scores_are_kept_in_ascending_order() -> None:
    """Catches the least opaque being kept, or scenes pruned with each other's indices."""
    scores = torch.rand(3, 101)
    keep = keep_indices(scores, 0.75)
    assert keep.shape == (3, 25)
    for row, kept in zip(scores, keep, strict=True):
        expected = row.argsort(descending=True)[:25].sort().values
        assert torch.equal(kept, expected)
