"""Noise levels and noises."""

import numpy as np
import pytest
import torch

from cosmos_predict1.diffusion.model.levels import noise_levels
from cosmos_predict1.diffusion.sampling.sampler import condition_noise, initial_noise
from src.runtime import InputError


def test_published_levels() -> None:
    """Would catch another sigma_min (0.002 is diffusers' default), exponent or end."""
    levels = noise_levels(35)
    known = {
        0: 80,
        1: 67.126,
        16: 2.3446,
        30: 0.00598825,
        33: 0.000552709,
        34: 0.0002,
    }
    for step, value in known.items():
        assert levels[step].item() == pytest.approx(value, rel=2e-5), step
    assert levels.shape == (36,) and levels[-1] == 0


@pytest.mark.parametrize("steps", [1, 2, 10, 100])
def test_levels_fall_from_end_to_end(steps: int) -> None:
    """Would catch a division by zero at one step, or a level more or less."""
    levels = noise_levels(steps, sigma_max=8.0, sigma_min=0.1, rho=3.0)
    assert levels.shape == (steps + 1,) and (levels.diff() < 0).all()
    assert levels[0].item() == pytest.approx(8.0)
    assert steps == 1 or levels[-2].item() == pytest.approx(0.1)


def test_a_run_without_steps_is_refused() -> None:
    """Would catch noise that is returned as a result."""
    with pytest.raises(InputError, match="steps"):
        noise_levels(0)


def test_initial_noise_is_repeatable_and_standard() -> None:
    """Would catch a seed without effect, or noise of another spread."""
    shape = (1, 16, 4, 22, 40)
    noise = initial_noise(shape, 3)
    assert torch.equal(noise, initial_noise(shape, 3))
    assert not torch.equal(noise, initial_noise(shape, 4))
    assert noise.dtype == torch.float32 and abs(noise.std().item() - 1) < 0.02
    published = initial_noise(shape, 3, published=True)
    torch.manual_seed(3)
    assert torch.equal(published, torch.randn(shape, dtype=torch.bfloat16).float())


def test_condition_noise_is_numpys() -> None:
    """Would catch noise drawn for the given frames only, or by another generator."""
    noise = condition_noise((1, 2, 3, 4, 5), 7)
    expected = np.random.RandomState(7).standard_normal((1, 2, 3, 4, 5))
    np.testing.assert_array_equal(noise.numpy(), expected.astype(np.float32))


@pytest.mark.gpu
def test_published_noise_on_a_gpu_is_that_of_the_global_generator() -> None:
    """Would catch noise that the published program would not start from."""
    shape = (1, 16, 4, 22, 40)
    torch.manual_seed(3)
    expected = torch.randn(shape, device="cuda", dtype=torch.bfloat16).float()
    assert torch.equal(initial_noise(shape, 3, "cuda", published=True), expected)
    assert torch.equal(initial_noise(shape, 3, "cuda").cpu(), initial_noise(shape, 3))
