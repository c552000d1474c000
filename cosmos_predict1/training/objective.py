"""The generator's new weights and its loss, with the inputs that sampling gives the denoiser.

Latents are `[clip, channel, latent_frame, lh, lw]`, noise levels sigma are one for each clip. With
the weighting of Karras et al. 2022 (table 1, "loss weighting") the squared error of the estimate
equals that of the network's output F, which is computed here.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from src.tokenizer.cosmos import SIGMA_DATA
from src.training.task import Objective

from ..diffusion.conditioning.latents import Conditions, condition_mask
from ..diffusion.model.denoiser import CONDITION_SIGMA, c_in
from ..diffusion.model.network import Gen3CTransformer
from ..diffusion.sampling.recipe import SamplingPlan, sample_latents
from .config import EdmConfig
from .latents import LatentBatch

GIVEN = 1
# Ends of the names of the layers that shift, scale and gate the blocks, and of the last layer.
MODULATION = ("linear_2.weight", "proj_out.weight")
POSITION_STD, PATCH_STD = 0.3, 0.2


@torch.no_grad()
def initialise(network: Gen3CTransformer) -> None:
    """Set weights with which the network begins as the zero function of a sound scale.

    Modulations and output are zeros (Peebles and Xie 2023, section 3.2, "adaLN-Zero"), so each
    block begins as the identity. The position embedding, whose default is zero, is normalised in
    use: at zero its gradient is a million. Each block adds it with a mean square of 1, so patches
    begin larger than by default.
    """
    for name, parameter in network.named_parameters():
        if name.endswith(MODULATION):
            parameter.zero_()
        elif name.startswith("learnable_pos_embed"):
            parameter.normal_(std=POSITION_STD)
    projection = network.patch_embed.get_submodule("proj")
    assert isinstance(projection, nn.Linear), type(projection)
    projection.weight.normal_(std=PATCH_STD)


class GeneratorObjective(Objective):
    """The network with the loss of denoising clips."""

    # Inputs and outputs of the blocks: embeddings, and modulations that begin at zero.
    outer = ("patch_embed.", "learnable_pos_embed.", "time_embed.", "norm_out.", "proj_out.")
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
        """Train `network`; all clips share the prompt `text` and the negative prompt."""
        super().__init__()
        self.network, self.edm = network, edm
        self.register_buffer("text", text, persistent=False)
        self.register_buffer("negative_text", negative_text, persistent=False)

    def forward(
        self, batch: LatentBatch, sampling: SamplingPlan | None = None
    ) -> Mapping[str, Tensor]:
        """Returns the loss of clips at random noise levels; with `sampling`, new `latents`."""
        if sampling is not None:
            first, texts = batch.latents[:, :, :GIVEN], (self.text, self.negative_text)
            latents = sample_latents(self.network, first, batch.warps, texts=texts, plan=sampling)
            return {"latents": latents}
        count, device = len(batch.latents), batch.latents.device
        sigma = (torch.randn(count, device=device) * self.edm.log_std + self.edm.log_mean).exp()
        noise = torch.randn_like(batch.latents)
        dropped = torch.rand(count, device=device) < self.edm.dropout
        conditions = Conditions(
            text=self.text.expand(count, -1, -1),
            mask=condition_mask(batch.warps, GIVEN),
            warps=batch.warps,
            fps=self.network.config.sampling.fps,
        )
        conditions = drop(conditions, self.negative_text.expand(count, -1, -1), dropped)
        x = wide(c_in(sigma)) * denoiser_input(batch.latents, noise, sigma)
        predicted = self.network(x, sigma.log() / 4, conditions).float()
        errors = edm_errors(predicted, batch.latents, noise, sigma)
        figures = {"loss": errors.mean()}
        for name, chosen in (("low", sigma < 0.3), ("high", sigma >= 0.3)):
            share = chosen.float().mean().clamp_min(0.5 / count)
            # A batch without such levels, which is rare, gives 0.
            figures[f"loss_{name}"] = (errors.detach() * chosen).mean() / share
        return figures


def drop(
    conditions: Conditions,
    negative_text: Float[Tensor, "clip text_token context"],
    dropped: Bool[Tensor, " clip"],
) -> Conditions:
    """Returns the conditions, with those of the branch to guide away from for `dropped` clips."""
    other = conditions.unconditional(negative_text)
    text = torch.where(dropped[:, None, None], other.text, conditions.text)
    return replace(conditions, text=text, warps=other.warps.where(wide(dropped), conditions.warps))


def denoiser_input(
    latents: Float[Tensor, "clip channel latent_frame lh lw"],
    noise: Float[Tensor, "clip channel latent_frame lh lw"],
    sigma: Float[Tensor, " clip"],
) -> Float[Tensor, "clip channel latent_frame lh lw"]:
    """Returns noisy latents with the given frames put in, as `Denoiser.constrain` does."""
    given = latents[:, :, :GIVEN] + CONDITION_SIGMA * noise[:, :, :GIVEN]
    return constrained(latents + wide(sigma) * noise, given, sigma)


def constrained(
    x: Float[Tensor, "clip channel latent_frame lh lw"],
    given: Float[Tensor, "clip channel given_frame lh lw"],
    sigma: Float[Tensor, " clip"],
) -> Float[Tensor, "clip channel latent_frame lh lw"]:
    """Returns `x` with the given frames, which carry their own noise, put in at its scale."""
    scale = wide(c_in(torch.full_like(sigma, CONDITION_SIGMA)) / c_in(sigma))
    first = torch.where(wide(sigma > CONDITION_SIGMA), given * scale, x[:, :, :GIVEN])
    return torch.cat([first, x[:, :, GIVEN:]], dim=2)


def edm_errors(
    predicted: Float[Tensor, "clip channel latent_frame lh lw"],
    latents: Float[Tensor, "clip channel latent_frame lh lw"],
    noise: Float[Tensor, "clip channel latent_frame lh lw"],
    sigma: Float[Tensor, " clip"],
) -> Float[Tensor, " clip"]:
    """Returns each clip's mean squared error of F over the frames that the denoiser estimates.

    The wanted F is `(x0 - c_skip x) / c_out`, without the difference that cancels at small sigma.
    """
    level = wide(sigma)
    wanted = (latents * level / SIGMA_DATA - noise * SIGMA_DATA) * c_in(level)
    squared = (predicted - wanted) ** 2
    # Below this level no frame is given, see `Denoiser`.
    given = (sigma > CONDITION_SIGMA).float()
    by_frame = squared.mean(dim=(1, 3, 4))
    known, free = by_frame[:, :GIVEN].sum(dim=1), by_frame[:, GIVEN:].sum(dim=1)
    frames = latents.shape[2]
    return (free + known * (1 - given)) / (frames - GIVEN * given)


def wide(values: Any) -> Any:
    """Returns one value for each clip in the dimensions of latents."""
    return values[:, None, None, None, None]
