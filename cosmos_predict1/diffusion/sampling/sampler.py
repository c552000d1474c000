"""Noise levels, initial noise, and the sampling loop: Euler's method with any denoiser.

Karras et al. 2022 (EDM), equation 5, whose published sigma_min is 0.0002, and algorithm 1 without
churn and without the second-order correction. The state is float32, whatever the denoiser's type.
"""

import itertools
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from src.runtime import InputError

Denoise = Callable[[Tensor, float], Tensor]
Progress = Callable[[int, Tensor], object]
SIGMA_MAX = 80.0
SIGMA_MIN = 0.0002
RHO = 7.0


def noise_levels(
    num_steps: int, sigma_max: float = SIGMA_MAX, sigma_min: float = SIGMA_MIN, rho: float = RHO
) -> Float[Tensor, " level"]:
    """Returns `num_steps` levels from `sigma_max` down to `sigma_min`, then 0; float64."""
    if num_steps < 1:
        raise InputError("number of steps", num_steps, "at least 1")
    assert sigma_max > sigma_min > 0, f"levels from {sigma_max} to {sigma_min}"
    # Float32 loses two digits to the seventh power.
    ramp = torch.linspace(0, 1, num_steps, dtype=torch.float64)
    start, end = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    levels = (start + ramp * (end - start)) ** rho
    return torch.cat([levels, levels.new_zeros(1)])


def initial_noise(
    shape: tuple[int, ...], seed: int, device: torch.device | str = "cpu", published: bool = False
) -> Float[Tensor, "..."]:
    """Returns standard normal noise of a latent's `shape` in float32 on `device`.

    `published` draws on `device` in bfloat16, which gives the published program's noise on the
    same kind of GPU. Otherwise the noise is the same on every device.
    """
    if published:
        generator = torch.Generator(device).manual_seed(seed)
        return torch.randn(shape, generator=generator, device=device, dtype=torch.bfloat16).float()
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def condition_noise(shape: tuple[int, ...], seed: int) -> Float[Tensor, "..."]:
    """Returns the standard normal noise that given latent frames carry in every step, float32.

    It covers the whole latent, as the published program draws it; only the given frames use it.
    """
    # Numpy's old generator is the only one that gives the published numbers.
    drawn = np.random.RandomState(seed).standard_normal(shape)
    return torch.from_numpy(drawn.astype(np.float32))


def sample(
    denoise: Denoise,
    noise: Float[Tensor, "*latent"],
    sigmas: Float[Tensor, " level"],
    progress: Progress | None = None,
    constrain: Denoise | None = None,
) -> Float[Tensor, "*latent"]:
    """Integrate the flow from noise to a latent, without an autograd graph.

    Args:
        denoise: estimates the clean latent from a noisy one and its level.
        noise: standard normal; the first state is it times sqrt(sigma_max^2 + 1), as published.
        sigmas: decreasing levels, the last 0.
        progress: called after each step with its index, from 0, and the state.
        constrain: applied to the state before each step, for example to put in given frames.
    """
    levels = sigmas.double().tolist()
    falling = all(high > low for high, low in itertools.pairwise(levels))
    assert falling and len(levels) > 1 and levels[-1] == 0, f"levels {levels}"
    with torch.inference_mode():
        x = noise.float() * (levels[0] ** 2 + 1) ** 0.5
        for step, (sigma, following) in enumerate(itertools.pairwise(levels)):
            if constrain is not None:
                x = constrain(x, sigma)
            estimate = denoise(x, sigma).float()
            # x + (x - x0) / sigma * (sigma' - sigma), exactly x0 where sigma' is 0.
            x = estimate + (x - estimate) * (following / sigma)
            if progress is not None:
                progress(step, x)
    # A copy, because inference tensors cannot take part in a later backward pass.
    return x.clone()
