"""Preconditioning, guidance and given frames."""

import math
from dataclasses import replace

import pytest
import torch

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.denoiser import Denoiser, c_in, c_noise, c_out, c_skip, guided
from cosmos_predict1.diffusion.model.network import Gen3CTransformer

SHAPE = (2, 16, 3, 4, 6)
LEVELS = torch.tensor([0.3, 0.3])


@pytest.mark.parametrize("sigma", [1e-4, 0.3, 80.0])
def test_the_best_linear_network_gives_the_best_estimate(sigma: float) -> None:
    """Would catch any wrong coefficient: for Gaussian data of deviation 0.5 the best F is 0."""
    x = torch.randn(1000, dtype=torch.float64)
    torch.testing.assert_close(c_skip(sigma) * x, x * 0.25 / (0.25 + sigma**2))
    # With clean data x0 = 0 and noise n, F must be -c_skip sigma n / c_out, of unit variance.
    assert c_skip(sigma) * sigma / c_out(sigma) == pytest.approx(0.5 * c_in(sigma))
    assert c_in(sigma) ** 2 * (0.25 + sigma**2) == pytest.approx(1)
    assert math.exp(4 * c_noise(sigma)) == pytest.approx(sigma)


def predicting(value: float) -> Denoiser:
    """A denoiser of a constant network, one latent frame given."""
    given, noise = torch.randn(2, 16, 1, 4, 6), torch.randn(2, 16, 1, 4, 6)
    return Denoiser(lambda x, _: torch.full_like(x, value), given, noise)


def test_given_frames_are_put_in_and_given_back() -> None:
    """Would catch a given frame that drifts, is scaled wrongly, or reaches other frames."""
    denoise, x = predicting(0.7), torch.randn(SHAPE)
    y = denoise.constrain(x, 2.0)
    assert torch.equal(y[:, :, 1:], x[:, :, 1:])
    seen = y[:, :, :1] * c_in(2.0)
    torch.testing.assert_close(seen, c_in(0.001) * (denoise.given + 0.001 * denoise.noise))
    estimate = denoise(x, 2.0)
    assert torch.equal(estimate[:, :, :1], denoise.given)
    torch.testing.assert_close(estimate[:, :, 1:], c_skip(2.0) * x[:, :, 1:] + c_out(2.0) * 0.7)
    assert torch.equal(denoise(y, 2.0), estimate)


@pytest.mark.parametrize("sigma", [0.001, 0.0002])
def test_at_the_lowest_levels_nothing_is_given(sigma: float) -> None:
    """Would catch frames that stay clamped in the last two of 35 steps."""
    denoise, x = predicting(0.7), torch.randn(SHAPE)
    assert torch.equal(denoise.constrain(x, sigma), x)
    torch.testing.assert_close(denoise(x, sigma), c_skip(sigma) * x + c_out(sigma) * 0.7)


def test_the_network_sees_a_scaled_latent_and_its_level() -> None:
    """Would catch an input at the wrong scale, or a level of the wrong kind or shape."""
    seen = []

    def predict(x: torch.Tensor, level: torch.Tensor) -> torch.Tensor:
        seen.append((x, level))
        return x

    x, nothing = torch.randn(SHAPE), torch.zeros(2, 16, 0, 4, 6)
    Denoiser(predict, nothing, nothing)(x, 3.0)
    torch.testing.assert_close(seen[0][0], x * c_in(3.0))
    torch.testing.assert_close(seen[0][1], torch.full((2,), math.log(3.0) / 4))


@pytest.mark.parametrize("guidance", [0.0, 1.0, 2.5])
def test_guidance_is_the_formula(
    tiny_network: Gen3CTransformer, conditions: Conditions, guidance: float
) -> None:
    """Would catch branches mixed up, or the scale taken for the usual one plus 1."""
    negative, x = torch.randn_like(conditions.text), torch.randn(SHAPE)
    unconditional = replace(conditions, text=negative, warps=torch.zeros_like(conditions.warps))
    with torch.inference_mode():
        wanted = tiny_network(x, LEVELS, conditions)
        unwanted = tiny_network(x, LEVELS, unconditional)
        expected = (1 + guidance) * wanted - guidance * unwanted
        predict = guided(tiny_network, conditions, negative, guidance)
        torch.testing.assert_close(predict(x, LEVELS), expected, rtol=1e-4, atol=1e-4)


def test_without_guidance_the_network_runs_once_a_step(
    tiny_network: Gen3CTransformer, conditions: Conditions
) -> None:
    """Would catch the work of a branch whose weight is zero, or one preparation per call."""
    calls = []
    tiny_network.register_forward_hook(lambda *_: calls.append(1))
    for guidance, expected in ((0.0, 1), (1.0, 2)):
        predict = guided(tiny_network, conditions, conditions.text, guidance)
        calls.clear()
        with torch.inference_mode():
            predict(torch.randn(SHAPE), LEVELS)
        assert len(calls) == expected
