"""Noise levels sigma from pure noise to none, and the noise that a run starts from.

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
    """`num_steps` decreasing levels from `sigma_max` to `sigma_min`, then 0; float64."""
    if num_steps < 1:
        raise InputError("number of steps", num_steps, "at least 1")
    assert sigma_max > sigma_min > 0, f"levels from {sigma_max} to {sigma_min}"
    # In float64, since float32 loses two digits to the seventh power.
    ramp = torch.linspace(0, 1, num_steps, dtype=torch.float64)
    start, end = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
    levels = (start + ramp * (end - start)) ** rho
    return torch.cat([levels, levels.new_zeros(1)])


def initial_noise(
    shape: tuple[int, ...],
    seed: int,
    device: torch.device | str = "cpu",
    published: bool = False,
) -> Float[Tensor, "..."]:
    """Standard normal noise in float32 on `device`.

    Args:
        shape: of the latent, with its batch dimension.
        seed: non-negative.
        device: where the noise goes.
        published: draw on `device` in bfloat16 as the published program does, so that its noise
            comes out on the same kind of GPU. Otherwise the noise is the same on every device.
    """
    if published:
        generator = torch.Generator(device).manual_seed(seed)
        return torch.randn(shape, generator=generator, device=device, dtype=torch.bfloat16).float()
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)


def condition_noise(shape: tuple[int, ...], seed: int) -> Float[Tensor, "..."]:
    """The standard normal noise that given latent frames carry in every step, float32.

    It depends on the whole shape, of which later only the given frames are used: the published
    program draws it with numpy for the whole latent.
    """
    # Numpy's old generator, for its numbers: no other gives the published ones.
    drawn = np.random.RandomState(seed).standard_normal(shape)
    return torch.from_numpy(drawn.astype(np.float32))
