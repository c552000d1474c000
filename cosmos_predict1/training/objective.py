"""The generator's loss: what EDM's denoiser gets wrong, with the inputs that sampling gives it.

Latents are `[clip, channel, latent_frame, lh, lw]`, noise levels sigma by clip. With the weighting
of Karras et al. 2022 (table 1, "loss weighting") the squared error of the estimate is that of the
network's own output F, which is what is computed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from src.tokenizer.statistics import SIGMA_DATA
from src.training.task import Objective

from ..diffusion.conditioning.conditions import Conditions
from ..diffusion.conditioning.latents import condition_mask
from ..diffusion.model.denoiser import CONDITION_SIGMA, Denoiser, c_in, guided
from ..diffusion.model.network import Gen3CTransformer
from ..diffusion.sampling.sampler import sample
from ..diffusion.sampling.schedule import condition_noise, initial_noise, noise_levels
from .config import EdmConfig
from .latents import LatentBatch

GIVEN = 1


@dataclass(frozen=True)
class Sampling:
    """How the clips of a batch are sampled."""

    num_steps: int
    guidance: float
    seed: int


class GeneratorObjective(Objective):
    """The network with the loss of denoising clips."""

    network: Gen3CTransformer
    text: Tensor
    negative_text: Tensor

    def __init__(
        self,
        network: Gen3CTransformer,
        edm: EdmConfig,
        text: Float[Tensor, "1 text_token context"],
        negative_text: Float[Tensor, "1 text_token context"],
    ) -> None:
        """Train `network`; all clips have the same text, and the same one to guide away from."""
        super().__init__()
        self.network, self.edm = network, edm
        self.register_buffer("text", text, persistent=False)
        self.register_buffer("negative_text", negative_text, persistent=False)

    def forward(self, batch: LatentBatch, sampling: Sampling | None = None) -> Mapping[str, Tensor]:
        """The loss of clips at random noise levels; with `sampling` new `latents` instead."""
        if sampling is not None:
            return {"latents": self.sample(batch, sampling)}
        count, device = len(batch.latents), batch.latents.device
        sigma = (torch.randn(count, device=device) * self.edm.log_std + self.edm.log_mean).exp()
        noise = torch.randn_like(batch.latents)
        dropped = torch.rand(count, device=device) < self.edm.dropout
        conditions = drop(self.conditions(batch), self._negative(count), dropped)
        predicted = self.predict(denoiser_input(batch.latents, noise, sigma), sigma, conditions)
        errors = edm_errors(predicted, batch.latents, noise, sigma)
        figures = {"loss": errors.mean()}
        for name, chosen in (("low", sigma < 0.3), ("high", sigma >= 0.3)):
            share = chosen.float().mean().clamp_min(0.5 / count)
            # 0 in a batch without such levels, which is rare.
            figures[f"loss_{name}"] = (errors.detach() * chosen).mean() / share
        return figures

    def predict(
        self,
        x: Float[Tensor, "clip channel latent_frame lh lw"],
        sigma: Float[Tensor, " clip"],
        conditions: Conditions,
    ) -> Float[Tensor, "clip channel latent_frame lh lw"]:
        """F of noisy latents `x` in float32."""
        return self.network(_wide(c_in(sigma)) * x, sigma.log() / 4, conditions).float()

    def conditions(self, batch: LatentBatch) -> Conditions:
        """What the network is told beside the noisy latents."""
        text = self.text.expand(len(batch.latents), -1, -1)
        fps = self.network.config.sampling.fps
        return Conditions(text, condition_mask(batch.warps, GIVEN), batch.warps, fps)

    def sample(
        self, batch: LatentBatch, sampling: Sampling
    ) -> Float[Tensor, "clip channel latent_frame lh lw"]:
        """New latents from the warps and first frames of a batch, as the commands sample them."""
        shape, device = tuple(batch.latents.shape), batch.latents.device
        carried = condition_noise(shape, sampling.seed)[:, :, :GIVEN].to(device)
        negative = self._negative(len(batch.latents))
        predict = guided(self.network, self.conditions(batch), negative, sampling.guidance)
        denoiser = Denoiser(predict, batch.latents[:, :, :GIVEN], carried)
        noise = initial_noise(shape, sampling.seed, device)
        levels = noise_levels(sampling.num_steps)
        return sample(denoiser, noise, levels, constrain=denoiser.constrain)

    def _negative(self, count: int) -> Float[Tensor, "{count} text_token context"]:
        return self.negative_text.expand(count, -1, -1)


def drop(
    conditions: Conditions,
    negative_text: Float[Tensor, "clip text_token context"],
    dropped: Bool[Tensor, " clip"],
) -> Conditions:
    """The conditions, those of `dropped` clips as the branch to guide away from has them."""
    other = conditions.unconditional(negative_text)
    text = torch.where(dropped[:, None, None], other.text, conditions.text)
    return replace(conditions, text=text, warps=other.warps.where(_wide(dropped), conditions.warps))


def denoiser_input(
    latents: Float[Tensor, "clip channel latent_frame lh lw"],
    noise: Float[Tensor, "clip channel latent_frame lh lw"],
    sigma: Float[Tensor, " clip"],
) -> Float[Tensor, "clip channel latent_frame lh lw"]:
    """Noisy latents with the given frames put in, as `Denoiser.constrain` does."""
    x = latents + _wide(sigma) * noise
    given = latents[:, :, :GIVEN] + CONDITION_SIGMA * noise[:, :, :GIVEN]
    scale = _wide(c_in(torch.full_like(sigma, CONDITION_SIGMA)) / c_in(sigma))
    first = torch.where(_wide(sigma > CONDITION_SIGMA), given * scale, x[:, :, :GIVEN])
    return torch.cat([first, x[:, :, GIVEN:]], dim=2)


def edm_errors(
    predicted: Float[Tensor, "clip channel latent_frame lh lw"],
    latents: Float[Tensor, "clip channel latent_frame lh lw"],
    noise: Float[Tensor, "clip channel latent_frame lh lw"],
    sigma: Float[Tensor, " clip"],
) -> Float[Tensor, " clip"]:
    """Mean squared error of F for each clip, over the frames that the denoiser estimates.

    The wanted F is `(x0 - c_skip x) / c_out`, written without the difference that cancels where
    sigma is small.
    """
    level = _wide(sigma)
    wanted = (latents * level / SIGMA_DATA - noise * SIGMA_DATA) * c_in(level)
    squared = (predicted - wanted) ** 2
    # Below this level no frame is given, see `Denoiser`.
    given = (sigma > CONDITION_SIGMA).float()
    by_frame = squared.mean(dim=(1, 3, 4))
    known, free = by_frame[:, :GIVEN].sum(dim=1), by_frame[:, GIVEN:].sum(dim=1)
    frames = latents.shape[2]
    return (free + known * (1 - given)) / (frames - GIVEN * given)


def _wide(values: Any) -> Any:
    """A value by clip, to be combined with latents."""
    return values[:, None, None, None, None]
