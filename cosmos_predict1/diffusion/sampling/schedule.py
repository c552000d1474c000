"""The noise levels sigma of the sampler, and the noise that sampling starts from.

Karras et al. 2022 (EDM), equation 5. The published sigma_min is 0.0002.
"""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from src.runtime import InputError

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
