"""The depth network's loss: what it sees and what it must not see."""

from dataclasses import replace

import pytest
import torch

from nano.depth.config import DepthLossConfig
from nano.depth.losses import (
    DepthSamples,
    depth_figures,
    depth_network_loss,
    gradient_loss,
    log_error,
    split_error,
)
from src.depth.backends.nano import NanoPrediction
from src.runtime import InputError


def make(batch: int = 2, height: int = 16, width: int = 24) -> DepthSamples:
    """Random samples, the upper rows of which are unknown."""
    depth = torch.rand(batch, height, width) + 0.5
    depth[:, :3] = 0
    return DepthSamples(
        torch.rand(batch, 3, height, width), depth, torch.randn(batch) * 0.1, ["a", "b"][:batch]
    )


def perfect(samples: DepthSamples) -> NanoPrediction:
    """What a network that knows everything would say."""
    known = samples.known
    log_depth = torch.where(known, samples.depth, 7.0).log()
    return NanoPrediction(log_depth, torch.where(known, 50.0, -50.0), samples.log_focal)


def test_the_truth_has_no_loss_and_perfect_figures() -> None:
    """A term with an offset, or one that looks at unknown pixels."""
    samples = make()
    terms = depth_network_loss(perfect(samples), samples, DepthLossConfig())
    assert all(abs(float(value)) < 1e-6 for value in terms.values())
    figures = depth_figures(perfect(samples), samples)
    expected = {"absrel": 0, "absrel_scaled": 0, "delta": 1, "delta_scaled": 1}
    expected |= {"focal": 0, "mask": 1}
    assert figures == pytest.approx(expected, abs=1e-5)


def test_a_wrong_scale_is_a_matter_of_one_term() -> None:
    """A shape or gradient term that sees the scale, which one picture often does not tell."""
    samples = make()
    truth = perfect(samples)
    doubled = replace(truth, log_depth=truth.log_depth + 2**0.5)
    terms = depth_network_loss(doubled, samples, DepthLossConfig(scale=0.5))
    assert float(terms["loss_scale"]) == pytest.approx(2**0.5, abs=1e-5)
    assert float(terms["loss_shape"]) == pytest.approx(0, abs=1e-5)
    assert float(terms["loss_gradient"]) == pytest.approx(0, abs=1e-4)
    assert float(terms["loss"]) == pytest.approx(2**0.5 / 2, abs=1e-4)
    figures = depth_figures(doubled, samples)
    assert figures["absrel_scaled"] == pytest.approx(0, abs=1e-5)
    assert figures["absrel"] == pytest.approx(torch.tensor(2**0.5).exp().item() - 1, rel=1e-4)
    assert figures["delta"] == 0


def test_errors_are_split_by_hand() -> None:
    """Means over all pixels instead of the known ones."""
    samples = make(batch=2)
    log_depth = torch.randn(samples.depth.shape)
    scale, shape = split_error(log_error(log_depth, samples), samples.known)
    for index in range(2):
        known = samples.known[index]
        error = log_depth[index][known] - samples.depth[index][known].log()
        torch.testing.assert_close(scale[index], error.mean())
        torch.testing.assert_close(shape[index][known], error - error.mean())
        assert (shape[index][~known] == 0).all()


def test_gradients_are_matched_at_every_stride_between_known_pixels() -> None:
    """Differences across the border of what is known, a stride or a direction that is missing."""
    error, known = torch.randn(2, 18, 26), torch.rand(2, 18, 26) > 0.3
    total = 0.0
    for step in (1, 2, 4, 8):
        for down, right in ((step, 0), (0, step)):
            found = [
                abs(error[b, i + down, j + right] - error[b, i, j])
                for b in range(2)
                for i in range(0, 18 - down, step)
                for j in range(0, 26 - right, step)
                if known[b, i, j] and known[b, i + down, j + right]
            ]
            total += float(torch.stack(found).mean())
    assert float(gradient_loss(error, known)) == pytest.approx(total, rel=1e-5)


def test_pictures_without_any_depth_have_finite_gradients() -> None:
    """A division by no pixels, as in a picture that is all sky."""
    samples = make()
    samples = replace(samples, depth=torch.zeros_like(samples.depth))
    log_depth = torch.randn(samples.depth.shape, requires_grad=True)
    prediction = NanoPrediction(log_depth, torch.zeros_like(log_depth), samples.log_focal)
    depth_network_loss(prediction, samples, DepthLossConfig())["loss"].backward()
    assert log_depth.grad is not None and (log_depth.grad == 0).all()
    assert depth_figures(prediction, samples) == {}


def test_negative_weights_are_refused() -> None:
    """A term that is maximised."""
    with pytest.raises(InputError, match="gradient"):
        DepthLossConfig(gradient=-1)
