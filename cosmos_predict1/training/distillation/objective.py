"""The objective of a distillation: one update of the student, or of its critic."""

from collections.abc import Mapping
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from src.training.task import Objective

from ...diffusion.conditioning.latents import Conditions, condition_mask
from ...diffusion.model.denoiser import CONDITION_SIGMA, c_in, c_out, c_skip
from ...diffusion.model.network import Gen3CTransformer
from ...diffusion.sampling.distilled import denoise_levels
from ...diffusion.sampling.recipe import Context, SamplingPlan, sample_latents
from ..latents import LatentBatch
from ..objective import GIVEN, constrained, wide
from .config import DistillTrainConfig
from .losses import (
    consistency_loss,
    critic_loss,
    level_table,
    matching_loss,
    shifted_levels,
)
from .roles import Role, Roles


class Denoisers:
    """The denoisers of all roles for the clips of a batch, whose first frames are given."""

    def __init__(
        self, roles: Roles, batch: LatentBatch, texts: tuple[Context, Context], fps: float
    ) -> None:
        """Draw the noise of the given frames; `texts` are prompt and negative prompt."""
        count = len(batch.latents)
        self.roles, self.given = roles, batch.latents[:, :, :GIVEN]
        self.noisy = self.given + CONDITION_SIGMA * torch.randn_like(self.given)
        self.conditions = Conditions(
            text=texts[0].expand(count, -1, -1),
            mask=condition_mask(batch.warps, GIVEN),
            warps=batch.warps,
            fps=fps,
        )
        self.other = self.conditions.unconditional(texts[1].expand(count, -1, -1))

    def __call__(
        self,
        role: Role,
        guidance: float,
        x: Float[Tensor, "clip channel latent_frame lh lw"],
        sigma: Float[Tensor, " clip"] | float,
    ) -> Float[Tensor, "clip channel latent_frame lh lw"]:
        """Returns the estimate of a role as `Denoiser`, at one level or at one for each clip."""
        sigma = sigma if isinstance(sigma, Tensor) else x.new_full((len(x),), sigma)
        x = constrained(x, self.noisy, sigma)
        scaled, c_noise, level = wide(c_in(sigma)) * x, sigma.log() / 4, wide(sigma)
        output = self.roles(role, scaled, c_noise, self.conditions).float()
        if guidance:
            without = self.roles(role, scaled, c_noise, self.other).float()
            output = output + guidance * (output - without)
        estimate = c_skip(level) * x + c_out(level) * output
        return torch.cat([self.given, estimate[:, :, GIVEN:]], dim=2)


class DistillObjective(Objective):
    """The student, and its critic if it has one, with the losses of a distillation."""

    network: Gen3CTransformer
    text: Tensor
    negative_text: Tensor
    table: Tensor

    def __init__(
        self,
        network: Gen3CTransformer,
        roles: Roles,
        config: DistillTrainConfig,
        texts: tuple[Context, Context],
    ) -> None:
        """Train parts of `network`, which `roles` calls; all clips share `texts`."""
        super().__init__()
        self.network, self.roles, self.config = network, roles, config
        consistency = config.consistency
        tensors = {"text": texts[0], "negative_text": texts[1]}
        tensors["table"] = level_table(consistency.levels, consistency.shift).to(texts[0].device)
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor, persistent=False)

    def forward(
        self, batch: LatentBatch, sampling: SamplingPlan | None = None
    ) -> Mapping[str, Tensor]:
        """Returns the loss of the update that `batch.number` is of; or new `latents`."""
        texts = (self.text, self.negative_text)
        if sampling is not None:
            self.roles.settle("student")
            first = batch.latents[:, :, :GIVEN]
            latents = sample_latents(self.network, first, batch.warps, texts=texts, plan=sampling)
            return {"latents": latents}
        fps = self.network.config.sampling.fps
        denoisers = Denoisers(self.roles, batch, texts, fps)
        if self.config.method == "consistency":
            losses = self._consistency(denoisers, batch.latents)
            role, figures = "student", {}
        else:
            role = trained_role(self.config, batch.number)
            losses = self._distribution(denoisers, batch.latents, role)
            figures = {f"loss_{role}": losses.mean()}
        # Blocks that the backward pass computes again need the weights of this role.
        self.roles.settle(role)
        return {"loss": losses.mean(), **figures}

    def _consistency(
        self, denoisers: Denoisers, latents: Float[Tensor, "clip channel latent_frame lh lw"]
    ) -> Float[Tensor, " clip"]:
        """Returns the losses at random neighbours of the table."""
        place = torch.randint(1, len(self.table), (len(latents),), device=latents.device)
        return consistency_loss(
            student=partial(denoisers, "student", 0.0),
            teacher=partial(denoisers, "teacher", self.config.guidance),
            latents=latents,
            noise=torch.randn_like(latents),
            levels=(self.table[place], self.table[place - 1]),
            huber=self.config.consistency.huber,
        )

    def _distribution(
        self,
        denoisers: Denoisers,
        latents: Float[Tensor, "clip channel latent_frame lh lw"],
        role: Role,
    ) -> Float[Tensor, " clip"]:
        """Returns the losses of student or critic on clips that the student makes.

        Their latents are not used; they only have the shape.
        """
        config, trained = self.config, role == "student"
        last = int(torch.randint(1, len(config.levels) + 1, ()))
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            clean = denoise_levels(
                partial(denoisers, "student", 0.0),
                torch.randn_like(latents),
                config.levels[:last],
                partial(torch.randn_like, latents),
            )
        matching, u = config.distribution, torch.rand(len(latents), device=latents.device)
        sigma = shifted_levels(u, matching.shift).clamp(matching.lowest, matching.highest)
        critic, noise = partial(denoisers, "critic", 0.0), torch.randn_like(latents)
        if not trained:
            return critic_loss(critic, clean, noise, sigma)
        teacher = partial(denoisers, "teacher", config.guidance)
        return matching_loss(critic, teacher, clean=clean, noise=noise, sigma=sigma)


def trained_role(config: DistillTrainConfig, number: int) -> Role:
    """Returns the network that batch `number` trains; the batches of an update train the same."""
    update, period = number // config.optim.accumulation_steps, config.distribution.period
    return "student" if update % period == period - 1 else "critic"
