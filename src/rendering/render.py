"""What a rasteriser returns."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Render:
    """Rendered frames.

    `color` is RGB composited on the background, `alpha` the opacity 1 - T in [0, 1], `depth` the
    camera z of the Gaussians' means weighted by the blending weights, over alpha (0 where alpha
    is 0), in world units.
    """

    color: Float[Tensor, "frame 3 height width"]
    alpha: Float[Tensor, "frame 1 height width"]
    depth: Float[Tensor, "frame 1 height width"]

    @staticmethod
    def concatenate(parts: "Sequence[Render]") -> "Render":
        """The frames of all parts in a row."""
        return Render(
            torch.cat([part.color for part in parts]),
            torch.cat([part.alpha for part in parts]),
            torch.cat([part.depth for part in parts]),
        )
