"""The noise levels of a run: equation 5 of Karras et al. 2022 (EDM)."""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from src.runtime import InputError

Solver = Literal["euler", "multistep"]
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


def stopped(levels: Float[Tensor, " level"], sigma_stop: float) -> Float[Tensor, " kept_level"]:
    """Returns the first level, the others that are at least `sigma_stop`, and 0."""
    kept = (levels >= sigma_stop) | (levels == 0)
    kept[0] = True
    return levels[kept]
