"""The sampling loop: Euler's method along the probability flow of any denoiser.

Karras et al. 2022, algorithm 1 without churn and without the second-order correction. The state is
float32, whatever type the denoiser computes in.
"""

import itertools
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Denoise = Callable[[Tensor, float], Tensor]
Progress = Callable[[int, Tensor], object]


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
