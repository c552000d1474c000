"""The guided start: a new tokenizer begins near the linear code of its videos.

An ordinary start learns the modes of the code one after the other, with a plateau before each:
those of small variance are buried by random residual branches and by bands of unlike loudness.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ...runtime import InputError
from .bands import band_statistics, silence_branches, whiten_bands
from .code import LinearCode, fit_code


@dataclass(kw_only=True)
class GuidedStartConfig:
    """The start of a new network.

    Attributes:
        enabled: whiten the bands, begin without residual branches, lead the latents.
        share: of the run, over which the weight of the guidance falls from 1 to 0.
        clips: training clips that bands and code are measured on.
    """

    enabled: bool = False
    share: float = 0.4
    clips: int = 320

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise InputError("guided.share", self.share, "a share in [0, 1]")
        if self.clips < 1:
            raise InputError("guided.clips", self.clips, "at least 1")

    def weight(self, progress: float) -> float:
        """Of the guidance in the loss, when the run is so far in [0, 1]."""
        if not self.enabled or not self.share:
            return 0.0
        return max(0.0, 1 - progress / self.share)


def guide_start(
    autoencoder: Any, videos: Callable[[], Iterable[Tensor]], components: int
) -> LinearCode:
    """Whiten a new network's bands, silence its branches; returns the code to lead its latents to.

    Args:
        autoencoder: diffusers' `AutoencoderKLCosmos`, changed in place.
        videos: gives training videos in [-1, 1], the same ones whenever it is called.
        components: channels of a latent.
    """
    patch = autoencoder.encoder.patch_embed.patch_size
    whiten_bands(autoencoder, band_statistics(videos(), patch))
    silence_branches(autoencoder)
    return fit_code(videos(), components)
