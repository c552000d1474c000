"""What a rasteriser returns."""

from dataclasses import dataclass

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
