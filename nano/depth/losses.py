"""The loss of the depth network, and figures of its depth.

`error` is log depth minus true log depth. The scale of one picture often cannot be known, so the
mean error (scale) and the rest (shape) have separate weights.
"""

from dataclasses import dataclass
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from src.depth.backends.nano import NanoPrediction

from .config import DepthLossConfig

Maps: TypeAlias = Float[Tensor, "batch h w"]
Known: TypeAlias = Bool[Tensor, "batch h w"]
# Strides at which gradients are compared (Ranftl et al. 2020, MiDaS).
STRIDES = (1, 2, 4, 8)
# The ratio of depths below which a pixel counts as right.
RIGHT = 1.25


@dataclass(frozen=True)
class DepthSamples:
    """RGB pictures in [0, 1] with depth z and focal length, in diagonals of the picture.

    Depth is 0 where it is unknown (sky, bars).
    """

    image: Float[Tensor, "batch 3 h w"]
    depth: Maps
    log_focal: Float[Tensor, " batch"]
    names: list[str]

    @property
    def known(self) -> Known:
        """The pixels with known depth."""
        return self.depth > 0


def log_error(log_depth: Maps, samples: DepthSamples) -> Maps:
    """Log depth minus true log depth, 0 where the latter is unknown."""
    known = samples.known
    truth = torch.where(known, samples.depth, 1.0).log()
    return torch.where(known, log_depth.float() - truth, 0.0)


def split_error(error: Maps, known: Known) -> tuple[Float[Tensor, " batch"], Maps]:
    """The mean error of each picture, and the error minus its mean; both 0 where unknown."""
    count = known.sum(dim=(1, 2)).clamp(min=1)
    scale = error.sum(dim=(1, 2)) / count
    return scale, torch.where(known, error - scale[:, None, None], 0.0)


def gradient_loss(error: Maps, known: Known) -> Float[Tensor, ""]:
    """The mean absolute difference between errors of neighbours, summed over `STRIDES`.

    It aligns edges of the depth with true ones, and keeps surfaces smooth.
    """
    total = error.new_zeros(())
    for step in STRIDES:
        part, there = error[:, ::step, ::step], known[:, ::step, ::step]
        for dim in (1, 2):
            length = part.shape[dim] - 1
            both = there.narrow(dim, 0, length) & there.narrow(dim, 1, length)
            change = (part.narrow(dim, 1, length) - part.narrow(dim, 0, length)).abs()
            total = total + torch.where(both, change, 0.0).sum() / both.sum().clamp(min=1)
    return total


def depth_network_loss(
    prediction: NanoPrediction, samples: DepthSamples, weights: DepthLossConfig
) -> dict[str, Tensor]:
    """The weighted `loss` and its terms: means over known pixels and over pictures."""
    known = samples.known
    error = log_error(prediction.log_depth, samples)
    scale, shape = split_error(error, known)
    terms = {
        "shape": shape.abs().sum() / known.sum().clamp(min=1),
        "scale": scale.abs().mean(),
        "gradient": gradient_loss(error, known),
        "mask": F.binary_cross_entropy_with_logits(prediction.mask_logit.float(), known.float()),
        "focal": (prediction.log_focal.float() - samples.log_focal).abs().mean(),
    }
    loss = torch.stack([getattr(weights, name) * value for name, value in terms.items()]).sum()
    return {"loss": loss, **{f"loss_{name}": value.detach() for name, value in terms.items()}}


def depth_figures(prediction: NanoPrediction, samples: DepthSamples) -> dict[str, float]:
    """Means of figures over the pictures with some known depth.

    `absrel` is the mean of |d - t| / t, `delta` the share of pixels with max(d / t, t / d) < 1.25;
    `_scaled` is after a scaling to the median of t. `focal` is the mean ratio of the focal lengths
    less 1, `mask` the share of pixels rightly predicted as known or unknown.
    """
    rows = []
    log_depth = prediction.log_depth.float()
    for index, known in enumerate(samples.known):
        if not known.any():
            continue
        truth, depth = samples.depth[index][known], log_depth[index][known].exp()
        scaled = depth * (truth.median() / depth.median())
        off = (prediction.log_focal[index].float() - samples.log_focal[index]).abs()
        right = (prediction.mask_logit[index] > 0) == known
        rows.append(
            {
                **_compare(depth, truth, ""),
                **_compare(scaled, truth, "_scaled"),
                "focal": float(off.exp()) - 1,
                "mask": float(right.float().mean()),
            }
        )
    return {name: sum(row[name] for row in rows) / len(rows) for name in rows[0]} if rows else {}


def _compare(
    depth: Float[Tensor, " pixel"], truth: Float[Tensor, " pixel"], suffix: str
) -> dict[str, float]:
    ratio = torch.maximum(depth / truth, truth / depth)
    return {
        f"absrel{suffix}": float(((depth - truth).abs() / truth).mean()),
        f"delta{suffix}": float((ratio < RIGHT).float().mean()),
    }
