"""Euler's loop with denoisers whose result is known exactly, and with the network."""

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.denoiser import Denoiser, guided
from cosmos_predict1.diffusion.model.levels import Solver, noise_levels
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.sampling.sampler import sample

START = (80.0**2 + 1) ** 0.5


def gaussian(mean: float, deviation: float) -> Callable[[Tensor, float], Tensor]:
    """The best denoiser of Gaussian data."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        gain = deviation**2 / (deviation**2 + sigma**2)
        return mean + gain * (x - mean)

    return denoise


@pytest.mark.parametrize("steps", [1, 2, 10, 35])
def test_gaussian_data_by_the_product_of_the_steps(steps: int) -> None:
    """Would catch a wrong step, a level skipped or used twice, or a start at another scale."""
    noise, levels = torch.randn(2, 3, 4), noise_levels(steps)
    mean, deviation = 1.5, 0.6
    gain = 1.0
    for high, low in itertools.pairwise(levels.tolist()):
        shrink = deviation**2 / (deviation**2 + high**2)
        gain *= shrink + (1 - shrink) * low / high
    expected = mean + gain * (noise.double() * START - mean)
    result = sample(gaussian(mean, deviation), noise, levels)
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-5)


def test_many_steps_converge_to_the_flow() -> None:
    """Would catch a loop that is consistent with itself but solves another equation."""
    noise, deviation = torch.randn(1000), 0.6
    exact = noise * START * deviation / (deviation**2 + 80.0**2) ** 0.5
    errors = []
    for steps in (50, 100, 200):
        result = sample(gaussian(0.0, deviation), noise, noise_levels(steps))
        errors.append((result - exact).norm().item())
    assert errors[0] > 1.8 * errors[1] > 3.2 * errors[2]
    assert errors[2] < 0.03 * exact.norm().item()


def test_the_last_step_returns_the_estimate_exactly() -> None:
    """Would catch noise that is left because a difference of large numbers is rounded."""
    target = torch.randn(5)
    result = sample(lambda x, sigma: target, torch.randn(5), noise_levels(3))
    assert torch.equal(result, target)


def test_progress_and_constraint_run_once_a_step() -> None:
    """Would catch a state reported before its step, or a constraint that the step ignores."""
    states: list[tuple[int, Tensor]] = []
    seen: list[Tensor] = []

    def constrain(x: Tensor, sigma: float) -> Tensor:
        return torch.cat([torch.full_like(x[:1], sigma), x[1:]])

    def denoise(x: Tensor, sigma: float) -> Tensor:
        seen.append(x)
        return torch.zeros_like(x)

    levels = noise_levels(4)
    result = sample(denoise, torch.randn(3), levels, lambda *step: states.append(step), constrain)
    assert [step for step, _ in states] == [0, 1, 2, 3]
    for x, level in zip(seen, levels.tolist(), strict=False):
        assert x[0].item() == pytest.approx(level)
    # From y = sigma towards 0 the step leads to the next level.
    for (_, x), level in zip(states, levels[1:].tolist(), strict=True):
        assert x[0].item() == pytest.approx(level, abs=1e-7)
    assert torch.equal(states[-1][1], result)


@pytest.mark.parametrize("levels", [[1.0], [1.0, 0.5], [1.0, 2.0, 0.0], [1.0, 1.0, 0.0]])
def test_levels_that_do_not_fall_to_zero_are_refused(levels: list[float]) -> None:
    """Would catch a result that is still noisy."""
    with pytest.raises(AssertionError, match="levels"):
        sample(gaussian(0.0, 1.0), torch.randn(3), torch.tensor(levels))


def network_sample(network: Gen3CTransformer, conditions: Conditions) -> Tensor:
    """Four steps with guidance and a given frame."""
    torch.manual_seed(6)
    given, noise = torch.randn(2, 2, 16, 1, 4, 6)
    predict = guided(network, conditions, conditions.text.flip(0), 1.0)
    denoise = Denoiser(predict, given, noise)
    start = torch.randn(2, 16, 3, 4, 6)
    return sample(denoise, start, noise_levels(4), constrain=denoise.constrain)


def test_sampling_allocates_no_autograd_graph(
    tiny_network: Gen3CTransformer, conditions: Conditions
) -> None:
    """Would catch a graph of a trainable network, which at full size is 300 GB."""
    tiny_network.requires_grad_(True)
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        tiny_network(torch.randn(2, 16, 3, 4, 6), torch.zeros(2), conditions)
        assert kept, "the probe sees nothing"
        kept.clear()
        result = network_sample(tiny_network, conditions)
    assert not kept
    # An ordinary tensor, that a later loss may use.
    assert not result.requires_grad and not result.is_inference()
    weight = torch.ones((), requires_grad=True)
    (weight * result).sum().backward()


def test_half_precision_networks_keep_a_float_state(
    tiny_network: Gen3CTransformer, conditions: Conditions
) -> None:
    """Would catch a state rounded to the network's type between the steps."""
    assert network_sample(tiny_network.bfloat16(), conditions).dtype == torch.float32


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("multistep", 2)])
def test_the_order_of_a_solver(solver: Solver, order: int) -> None:
    """Would catch a history with a wrong coefficient, or at the wrong level."""
    noise, deviation, mean = torch.randn(1000).double(), 0.6, 1.5
    exact = mean + (noise * START - mean) * deviation / (deviation**2 + 80.0**2) ** 0.5
    errors = []
    for steps in (40, 80, 160):
        levels = noise_levels(steps, sigma_min=1e-4)
        result = sample(gaussian(mean, deviation), noise, levels, solver=solver)
        errors.append((result - exact).norm().item())
    for coarse, fine in itertools.pairwise(errors):
        assert 0.85 * 2**order < coarse / fine < 1.25 * 2**order, errors


def test_multistep_is_exact_where_the_estimate_is_a_line_in_log_sigma() -> None:
    """Would catch steps of unequal size that are taken for equal ones."""

    def denoise(x: Tensor, sigma: float) -> Tensor:
        return torch.full_like(x, 2 - 0.3 * math.log(sigma))

    states: list[Tensor] = []
    levels = [80.0, 30.0, 9.0, 5.0, 0.5, 0.0]
    noise = torch.zeros(1)
    keep = lambda _step, x: states.append(x)  # noqa: E731
    sample(denoise, noise, torch.tensor(levels), keep, solver="multistep")
    # The flow d x / d log sigma = x - x0 with x0 = 2 - 0.3 log sigma: after a step, the middle of
    # the interval stands for the estimate.
    for step in (1, 2, 3):
        high, low = levels[step], levels[step + 1]
        middle = 2 - 0.3 * (math.log(high) + math.log(low)) / 2
        expected = middle + (states[step - 1] - middle) * low / high
        torch.testing.assert_close(states[step], expected)


def test_euler_is_the_published_step_bit_for_bit() -> None:
    """Would catch a default whose clips differ from earlier ones in their last bit."""
    denoise, noise, levels = gaussian(1.5, 0.6), torch.randn(2, 3, 4), noise_levels(35)
    x = noise * START
    for high, low in itertools.pairwise(levels.tolist()):
        estimate = denoise(x, high)
        x = estimate + (x - estimate) * (low / high)
    assert torch.equal(sample(denoise, noise, levels), x)
