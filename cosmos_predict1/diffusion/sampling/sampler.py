"""Initial noise and the sampling loop of both solvers, with any denoiser.

The solver "euler" is algorithm 1 of Karras et al. 2022 (EDM) without churn and without the
second-order correction; "multistep" is DPM-Solver++ (2M) of Lu et al. 2022, algorithm 2, whose
alpha is 1 here. The state is float32, whatever the denoiser's type.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from ..model.levels import Solver

Denoise = Callable[[Tensor, float], Tensor]
Progress = Callable[[int, Tensor], object]


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
    solver: Solver = "euler",
) -> Float[Tensor, "*latent"]:
    """Integrate the flow from noise to a latent, without an autograd graph.

    Args:
        denoise: estimates the clean latent from a noisy one and its level.
        noise: standard normal; the first state is it times sqrt(sigma_max^2 + 1), as published.
        sigmas: decreasing levels, the last 0.
        progress: called after each step with its index, from 0, and the state.
        constrain: applied to the state before each step, for example to put in given frames.
            "multistep" also uses the estimate of the step before: where `denoise` returns given
            frames, as `Denoiser` does, both have them, and so does the result.
        solver: "multistep" continues the line through the last two estimates, over log sigma. The
            first and the last step are Euler's.
    """
    levels = sigmas.double().tolist()
    falling = all(high > low for high, low in itertools.pairwise(levels))
    assert falling and len(levels) > 1 and levels[-1] == 0, f"levels {levels}"
    with torch.inference_mode():
        x = noise.float() * (levels[0] ** 2 + 1) ** 0.5
        before: tuple[float, Tensor] | None = None
        for step, (sigma, following) in enumerate(itertools.pairwise(levels)):
            if constrain is not None:
                x = constrain(x, sigma)
            estimate = denoise(x, sigma).float()
            target = estimate
            if solver == "multistep" and before is not None and following > 0:
                ahead = math.log(sigma / following) / (2 * math.log(before[0] / sigma))
                target = estimate + ahead * (estimate - before[1])
            before = sigma, estimate
            # x + (x - x0) / sigma * (sigma' - sigma), exactly x0 where sigma' is 0.
            x = target + (x - target) * (following / sigma)
            if progress is not None:
                progress(step, x)
    # A copy, because inference tensors cannot take part in a later backward pass.
    return x.clone()
