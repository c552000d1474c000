"""Latent statistics: what turns the encoder's raw latents into those of the diffusion model.

Means and standard deviations are [channel, latent_frame]; a shorter clip uses the first of them.
A normalised latent is `SIGMA_DATA * (raw - mean) / std`.
"""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from ..runtime import InputError

SIGMA_DATA = 0.5


@dataclass(frozen=True)
class LatentStatistics:
    """Mean and standard deviation of raw latents, by channel and latent frame."""

    mean: Float[Tensor, "channel latent_frame"]
    std: Float[Tensor, "channel latent_frame"]

    @property
    def max_latent_frames(self) -> int:
        """Longest clip, in latent frames, that the statistics cover."""
        return self.mean.shape[1]

    def normalise(
        self, raw: Float[Tensor, "*batch channel latent_frame lh lw"]
    ) -> Float[Tensor, "*batch channel latent_frame lh lw"]:
        """Latents of the diffusion model, standard deviation about 0.5, float32."""
        mean, std = self._of(raw.shape[-3])
        return SIGMA_DATA * (raw.float() - mean) / std

    def denormalise(
        self, latent: Float[Tensor, "*batch channel latent_frame lh lw"]
    ) -> Float[Tensor, "*batch channel latent_frame lh lw"]:
        """The inverse of `normalise`."""
        mean, std = self._of(latent.shape[-3])
        return latent.float() / SIGMA_DATA * std + mean

    def _of(self, count: int) -> tuple[Tensor, Tensor]:
        if count > self.max_latent_frames:
            expected = f"at most {self.max_latent_frames}, which the statistics cover"
            raise InputError("latent frames", count, expected)
        shape = (-1, count, 1, 1)
        return self.mean[:, :count].reshape(shape), self.std[:, :count].reshape(shape)
