"""Sampling with distilled weights: one forward at each of a few levels, new noise in between."""

import itertools
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .sampler import Denoise, Progress

Draw = Callable[[], Tensor]


def fresh_noise(shape: tuple[int, ...], seeds: Sequence[int], device: torch.device) -> Draw:
    """Returns a function that draws the noise of the next step: for each seed a part of the batch.

    The numbers are the same on every device, and others than those of `initial_noise`.
    """
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw() -> Tensor:
        return torch.cat([torch.randn(shape, generator=part) for part in generators]).to(device)

    draw()
    return draw


def denoise_levels(
    denoise: Denoise,
    noise: Float[Tensor, "*latent"],
    levels: Sequence[float],
    renoise: Draw,
    progress: Progress | None = None,
) -> Float[Tensor, "*latent"]:
    """Returns the estimate at the last of `levels`, which fall from that of the `noise`.

    Each estimate gets new noise of the next level (Song et al. 2023, algorithm 1). A gradient goes
    through the last call of `denoise` only. `progress` gets each step's index and estimate.
    """
    x = estimate = levels[0] * noise.float()
    for step, (sigma, following) in enumerate(itertools.pairwise((*levels, 0.0))):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not following):
            estimate = denoise(x, sigma).float()
        if following:
            x = estimate + following * renoise()
        if progress is not None:
            progress(step, estimate)
    return estimate


def sample_distilled(
    denoise: Denoise,
    noise: Float[Tensor, "*latent"],
    levels: Sequence[float],
    renoise: Draw,
    progress: Progress | None = None,
) -> Float[Tensor, "*latent"]:
    """Returns new latents without an autograd graph; see `denoise_levels`."""
    with torch.inference_mode():
        latents = denoise_levels(denoise, noise, levels, renoise, progress)
    # A copy, because inference tensors cannot take part in a later backward pass.
    return latents.clone()
