"""The sampling recipe of all clips: levels, initial noise, guidance, given frames, decoding.

The commands, the validation of a training and the clips of worlds sample through it. Latents are
normalised, `[clip, channel, latent_frame, lh, lw]`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from src.tokenizer.cosmos import VideoTokenizer

from ..conditioning.latents import Conditions, condition_mask
from ..model.architecture import SamplingDefaults, TransformerConfig
from ..model.denoiser import Denoiser, Network, guided
from ..model.speed import Shortcuts
from .distilled import fresh_noise, sample_distilled
from .sampler import Progress, condition_noise, initial_noise, sample
from .step_cache import StepCache

Context = Float[Tensor, "1 token context"]


@dataclass(frozen=True, kw_only=True)
class SamplingPlan:
    """How a batch of clips is sampled.

    Each of `seeds` draws the noise of an equal part of the batch. `published_noise` is `published`
    of `sampler.initial_noise`. The first noise is multiplied by `initial_noise`, None for what the
    weights ask for.
    """

    num_steps: int
    guidance: float
    fps: float
    seeds: tuple[int, ...]
    published_noise: bool = False
    initial_noise: float | None = None
    shortcuts: Shortcuts = Shortcuts()

    @property
    def levels(self) -> Float[Tensor, " level"]:
        """The noise levels, the last 0."""
        return self.shortcuts.levels(self.num_steps)


def sample_latents(
    network: Network,
    first: Float[Tensor, "clip channel given_frame lh lw"],
    warps: Float[Tensor, "clip warp_channel latent_frame lh lw"],
    texts: tuple[Context, Context],
    plan: SamplingPlan,
    progress: Progress | None = None,
) -> Float[Tensor, "clip channel latent_frame lh lw"]:
    """Returns new latents of clips that begin with the given latents `first`.

    `warps` are the condition latents of all frames, `texts` the prompt and the negative prompt of
    all clips. `progress` is called after each step with its index and the state.
    """
    count, device, given = len(warps), warps.device, first.shape[2]
    positive, negative = (text.to(device).expand(count, -1, -1) for text in texts)
    conditions = Conditions(
        text=positive, mask=condition_mask(warps, given), warps=warps, fps=plan.fps
    )
    shortcuts, levels = plan.shortcuts, plan.levels
    own = _own_sampling(network)
    own.check_plan(plan.num_steps, plan.guidance)
    share = own.initial_noise if plan.initial_noise is None else plan.initial_noise
    if shortcuts.step_cache > 0:
        # The last level of each branch.
        ends = (*shortcuts.guided_levels(plan.num_steps)[-1:], levels[-2].item())
        network = StepCache(network, shortcuts.step_cache, always=ends)
    predict = guided(
        network, conditions, negative, plan.guidance, interval=shortcuts.guidance_interval
    )
    shape = (count // len(plan.seeds), first.shape[1], *warps.shape[2:])
    carried = [condition_noise(shape, seed)[:, :, :given] for seed in plan.seeds]
    noise = share * torch.cat(
        [initial_noise(shape, seed, device, plan.published_noise) for seed in plan.seeds]
    )
    denoiser = Denoiser(predict, first, torch.cat(carried).to(device))
    if own.levels:
        renoise = fresh_noise(shape, plan.seeds, device)
        return sample_distilled(denoiser, noise, own.levels, renoise, progress)
    return sample(
        denoiser,
        noise,
        levels,
        progress=progress,
        constrain=denoiser.constrain,
        solver=shortcuts.solver,
    )


def _own_sampling(network: object) -> SamplingDefaults:
    """Returns how the weights want to be sampled; the defaults for networks that don't say it."""
    config = getattr(network, "config", None)
    return config.sampling if isinstance(config, TransformerConfig) else SamplingDefaults()


def decode_latents(
    tokenizer: VideoTokenizer, latents: Float[Tensor, "clip channel latent_frame lh lw"]
) -> Float[Tensor, "clip 3 frame h w"]:
    """Returns the videos of latents, about [-1, 1]."""
    return tokenizer.decode(tokenizer.statistics.denormalise(latents))
