"""The guided start: a new tokenizer begins near the linear code of its videos.

Without it a network learns the modes of the code one after the other, with a plateau before each:
random residual branches and bands of unequal variance hide the modes of small variance.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..settings import check_least, check_shares
from .bands import band_statistics, silence_branches, whiten_bands
from .code import LinearCode, fit_code


@dataclass(kw_only=True)
class GuidedStartConfig:
    """The start of a new network.

    Attributes:
        enabled: Whiten the bands, zero the residual branches, guide the latents by a loss.
        share: Share of the run over which the weight of the guidance loss falls from 1 to 0.
        clips: Training clips on which bands and code are measured.
    """

    enabled: bool = False
    share: float = 0.4
    clips: int = 320

    def __post_init__(self) -> None:
        check_shares("guided", self, "share")
        check_least("guided", self, {"clips": 1})

    def weight(self, progress: float) -> float:
        """Returns the weight of the guidance loss at a progress in [0, 1]."""
        if not self.enabled or not self.share:
            return 0.0
        return max(0.0, 1 - progress / self.share)


def guide_start(
    autoencoder: Any, videos: Callable[[], Iterable[Tensor]], components: int
) -> LinearCode:
    """Whiten a new network's bands and zero its branches; returns the target code of its latents.

    Args:
        autoencoder: diffusers' `AutoencoderKLCosmos`, changed in place.
        videos: Gives the same training videos in [-1, 1] whenever it is called.
        components: Channels of a latent.
    """
    patch = autoencoder.encoder.patch_embed.patch_size
    whiten_bands(autoencoder, band_statistics(videos(), patch))
    silence_branches(autoencoder)
    return fit_code(videos(), components)
