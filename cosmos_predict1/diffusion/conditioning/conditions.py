"""The transformer's conditions beside the noisy latent: text, given frames, warps, frame rate.

Latents are `[batch, channel, latent_frame, lh, lw]`.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Conditions:
    """The network's conditions for a batch of noisy latents.

    `text` rows beyond a prompt's length are zero and take part in the attention, as published.
    `padding` may have any size and is resized to the latent's; None means no padding.
    """

    text: Float[Tensor, "batch text_token context"]
    mask: Float[Tensor, "batch 1 latent_frame lh lw"]
    warps: Float[Tensor, "batch warp_channel latent_frame lh lw"]
    fps: float = 24.0
    padding: Float[Tensor, "batch 1 ph pw"] | None = None

    def unconditional(
        self, negative_text: Float[Tensor, "batch text_token context"]
    ) -> "Conditions":
        """The branch to guide away from: another text, no warps, the same given frames."""
        return replace(self, text=negative_text, warps=torch.zeros_like(self.warps))

    def stacked(self, other: "Conditions") -> "Conditions":
        """Both as one batch, `other` last."""
        assert self.fps == other.fps, f"{self.fps} and {other.fps} fps in one batch"
        assert (self.padding is None) == (other.padding is None), "padding in one branch only"
        padding = None
        if self.padding is not None and other.padding is not None:
            padding = torch.cat([self.padding, other.padding])
        return replace(
            self,
            text=torch.cat([self.text, other.text]),
            mask=torch.cat([self.mask, other.mask]),
            warps=torch.cat([self.warps, other.warps]),
            padding=padding,
        )


@dataclass(frozen=True)
class Prepared:
    """Conditions in the network's type, with the tables that all sampling steps share.

    The patch embedding of `channels` and the keys and values of `text` would be shared too. They
    are 0.02 % of a forward at full size and would hold 1.4 GB, so each step computes them.
    """

    text: Float[Tensor, "batch text_token context"]
    channels: Float[Tensor, "batch channel latent_frame lh lw"]
    cos: Float[Tensor, "token head_dim"]
    sin: Float[Tensor, "token head_dim"]
    position: Float[Tensor, "1 token width"]

    def chunk(self, parts: int) -> list["Prepared"]:
        """The batch in equal parts, which share the tables."""
        pairs = zip(self.text.chunk(parts), self.channels.chunk(parts), strict=True)
        return [replace(self, text=text, channels=channels) for text, channels in pairs]
