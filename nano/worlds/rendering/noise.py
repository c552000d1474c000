"""Two smooth periodic random fields in space."""

from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

SIZE = 64
SEED = 20
# Cycles per period; the steep fall-off keeps the fields soft.
LOWEST_CYCLES, HIGHEST_CYCLES, FALL_OFF = 2, 9, 2.6


@lru_cache
def noise_volume(device: torch.device) -> Float[Tensor, "1 2 side side side"]:
    """Both fields over one period, of about unit variance in [-2, 2]; the ends are equal."""
    rng = np.random.default_rng(SEED)
    cycles = np.fft.fftfreq(SIZE, 1 / SIZE)
    x, y, z = np.meshgrid(cycles, cycles, cycles, indexing="ij")
    radius = np.sqrt(x * x + y * y + z * z)
    band = (radius >= LOWEST_CYCLES) & (radius <= HIGHEST_CYCLES)
    amplitude = np.where(band, np.maximum(radius, 1.0) ** -FALL_OFF, 0.0)
    fields = []
    for _ in range(2):
        white = np.fft.fftn(rng.standard_normal((SIZE, SIZE, SIZE)))
        field = np.fft.ifftn(white * amplitude).real
        fields.append(np.pad((field / field.std()).clip(-2, 2), (0, 1), mode="wrap"))
    return torch.from_numpy(np.stack(fields)).float()[None].to(device)


def sample_noise(
    volume: Float[Tensor, "1 2 side side side"], position: Float[Tensor, "3 camera ray"]
) -> Float[Tensor, "2 camera ray"]:
    """Both fields of `noise_volume` at `(x, y, z)` in periods, interpolated linearly."""
    grid = 2 * (position - position.floor()) - 1
    # One row of points: the sampler takes (batch, depth, height, width, xyz).
    grid = grid.flatten(1).mT[None, None, None]
    return functional.grid_sample(volume, grid, align_corners=True).view(2, *position.shape[1:])
