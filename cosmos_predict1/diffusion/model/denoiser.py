"""From a network to `denoise(x, sigma) -> x0`: EDM preconditioning, guidance, given frames.

x is a noisy latent `x0 + sigma * noise`, float32; sigma_data is 0.5. With F the network's output,
x0 = c_skip x + c_out F(c_in x, c_noise), Karras et al. 2022, equation 7 and table 1.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar, cast, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from src.tokenizer.cosmos import SIGMA_DATA

from ..conditioning.latents import Conditions

# Noise level of the given frames in the network's input. At lower levels of the sample the given
# frames are denoised like the others.
CONDITION_SIGMA = 0.001

# One noise level, or one for each item of a batch.
Level = TypeVar("Level", float, Tensor)
# F of a scaled latent and of ln(sigma) / 4 per batch item.
Predict = Callable[[Tensor, Tensor], Tensor]


@runtime_checkable
class Network(Protocol):
    """The interface between guidance and a network."""

    def prepare(self, conditions: Conditions) -> Any:
        """Returns the part that no sample changes; its `chunk(2)` cuts it along the batch."""
        ...

    def __call__(self, x: Tensor, c_noise: Tensor, conditions: Any) -> Tensor:
        """The network's output under prepared conditions."""
        ...


def c_in(sigma: Level) -> Level:
    """Scale of the network's input."""
    return cast(Level, (sigma**2 + SIGMA_DATA**2) ** -0.5)


def c_skip(sigma: Level) -> Level:
    """Weight of the noisy latent in the estimate."""
    return (SIGMA_DATA * c_in(sigma)) ** 2


def c_out(sigma: Level) -> Level:
    """Weight of the network's output in the estimate."""
    return sigma * SIGMA_DATA * c_in(sigma)


def c_noise(sigma: float) -> float:
    """The network's input for the noise level."""
    return math.log(sigma) / 4 if sigma > 0 else -math.inf


def guided(
    network: Network,
    conditions: Conditions,
    negative_text: Float[Tensor, "batch text_token context"],
    guidance: float,
    interval: tuple[float, float] | None = None,
) -> Predict:
    """Returns F = Fc + guidance (Fc - Fu), with one preparation of the conditions for all steps.

    The unconditional branch has `negative_text` and no warps. `guidance` is the usual guidance
    scale less 1; 0 runs the conditional branch alone, and so do noise levels outside of `interval`
    (Kynkaanniemi et al. 2024; None: all levels are inside).
    """
    with torch.inference_mode():
        if guidance == 0:
            alone = network.prepare(conditions)
            return lambda x, noise: network(x, noise, alone)
        both = network.prepare(conditions.stacked(conditions.unconditional(negative_text)))
    conditional, unconditional = both.chunk(2)

    def predict(x: Tensor, noise: Tensor) -> Tensor:
        wanted = network(x, noise, conditional).float()
        weight: float | Tensor = guidance
        if interval is not None:
            low, high = (c_noise(sigma) for sigma in interval)
            inside = (noise >= low) & (noise <= high)
            if not inside.any():
                return wanted
            weight = guidance * inside.view(-1, *[1] * (x.ndim - 1))
        return wanted + weight * (wanted - network(x, noise, unconditional).float())

    return predict


@dataclass(frozen=True)
class Denoiser:
    """`denoise(x, sigma)`: estimates the clean latent, with its first frames as given.

    `given` are the clean latents of the first frames, `noise` is their noise in the input.
    """

    predict: Predict
    given: Float[Tensor, "batch channel given_frame lh lw"]
    noise: Float[Tensor, "batch channel given_frame lh lw"]

    def constrain(
        self, x: Float[Tensor, "batch channel latent_frame lh lw"], sigma: float
    ) -> Float[Tensor, "batch channel latent_frame lh lw"]:
        """Put the given frames into `x`, scaled so that the network sees them at 0.001 noise."""
        if sigma <= CONDITION_SIGMA:
            return x
        noisy = self.given + CONDITION_SIGMA * self.noise
        scaled = noisy * (c_in(CONDITION_SIGMA) / c_in(sigma))
        return torch.cat([scaled, x[:, :, self.given.shape[2] :]], dim=2)

    def __call__(
        self, x: Float[Tensor, "batch channel latent_frame lh lw"], sigma: float
    ) -> Float[Tensor, "batch channel latent_frame lh lw"]:
        """Returns the estimate at `x` after `constrain`, which changes nothing a second time."""
        x = self.constrain(x, sigma)
        level = x.new_full((x.shape[0],), c_noise(sigma))
        estimate = c_skip(sigma) * x + c_out(sigma) * self.predict(c_in(sigma) * x, level).float()
        if sigma <= CONDITION_SIGMA:
            return estimate
        return torch.cat([self.given, estimate[:, :, self.given.shape[2] :]], dim=2)
