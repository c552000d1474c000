"""The losses of a distillation, as functions of denoisers.

A denoiser estimates clean latents `[clip, channel, latent_frame, lh, lw]` from noisy ones and a
noise level for each clip. The given frames, the first ones, do not count in any loss. Losses are
float32, one for each clip.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from src.tokenizer.cosmos import SIGMA_DATA

from ...diffusion.model.levels import SIGMA_MAX
from ..objective import GIVEN, wide

Estimate = Callable[[Tensor, Tensor], Tensor]
# Keeps the normalised gradient finite where the estimates agree.
EPSILON = 1e-6


def shifted_levels(u: Float[Tensor, " level"], shift: float) -> Float[Tensor, " level"]:
    """Returns the noise levels of times u in [0, 1) of a rectified flow with a shift.

    Its noisy latents are (1 - t) x0 + t e with t = s u / (1 + (s - 1) u), of unit variance.
    """
    return SIGMA_DATA * shift * u / (1 - u)


def level_table(count: int, shift: float) -> Float[Tensor, " level"]:
    """Returns 0 and `count` rising levels, the last of which is that of pure noise."""
    last = SIGMA_MAX / (SIGMA_MAX + SIGMA_DATA * shift)
    return shifted_levels(torch.linspace(0, last, count + 1, dtype=torch.float64), shift).float()


def consistency_loss(
    student: Estimate,
    teacher: Estimate,
    latents: Float[Tensor, "clip channel latent_frame lh lw"],
    noise: Float[Tensor, "clip channel latent_frame lh lw"],
    levels: tuple[Float[Tensor, " clip"], Float[Tensor, " clip"]],
    huber: float,
) -> Float[Tensor, " clip"]:
    """Returns the distance of the student's estimates at both ends of one step of the teacher.

    Song et al. 2023, algorithm 2, with Euler's method and the current weights for the target.
    `levels` are the higher and the lower ones; at the lower level 0 the latents are the target.
    """
    high, low = levels
    x = latents + wide(high) * noise
    with torch.no_grad():
        clean = teacher(x, high)
        following = clean + wide(low / high) * (x - clean)
        # The estimate at level 0, which a denoiser cannot give, is not used.
        target = student(following, torch.where(low > 0, low, high))
        target = torch.where(wide(low > 0), target, latents)
    difference = _free(student(x, high) - target)
    distance = (difference.square().mean(dim=(1, 2, 3, 4)) + huber**2).sqrt() - huber
    return distance / (high - low)


def critic_loss(
    critic: Estimate,
    clean: Float[Tensor, "clip channel latent_frame lh lw"],
    noise: Float[Tensor, "clip channel latent_frame lh lw"],
    sigma: Float[Tensor, " clip"],
) -> Float[Tensor, " clip"]:
    """Returns the weighted error of the critic on the student's clips (EDM, table 1)."""
    errors = _free(critic(clean + wide(sigma) * noise, sigma) - clean).square()
    return (sigma**-2 + SIGMA_DATA**-2) * errors.mean(dim=(1, 2, 3, 4))


def matching_loss(
    critic: Estimate,
    teacher: Estimate,
    clean: Float[Tensor, "clip channel latent_frame lh lw"],
    noise: Float[Tensor, "clip channel latent_frame lh lw"],
    sigma: Float[Tensor, " clip"],
) -> Float[Tensor, " clip"]:
    """Returns a loss whose gradient at the student's clips leads to the teacher's distribution.

    Yin et al. 2024 (DMD), equations 7 and 8: the difference of the critic's and the teacher's
    estimate, over the mean distance of the teacher's from the clip.
    """
    with torch.no_grad():
        noisy = clean + wide(sigma) * noise
        theirs, ours = _free(teacher(noisy, sigma)), _free(critic(noisy, sigma))
        scale = (_free(clean) - theirs).abs().mean(dim=(1, 2, 3, 4)) + EPSILON
        gradient = torch.nan_to_num((ours - theirs) / wide(scale))
        target = _free(clean) - gradient
    return 0.5 * (_free(clean) - target).square().mean(dim=(1, 2, 3, 4))


def _free(
    values: Float[Tensor, "clip channel latent_frame lh lw"],
) -> Float[Tensor, "clip channel free_frame lh lw"]:
    """Returns the frames that are not given, in float32."""
    return values[:, :, GIVEN:].float()
