"""Forward splatting with a soft z-buffer.

A sample at `(x, y)` spreads over the four surrounding pixels, whose centres lie at INTEGER
coordinates, with bilinear weights divided by `exp(50 L / max L)`, `L = log(1 + z)`: nearer samples
win exponentially, samples of one surface blend. Samples beyond the frame's edge reach the pixels
that they overlap.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

HOLE = -1.0
SHARPNESS = 50.0
# Two frames share a normaliser max L, as in the original, which splats them in pairs.
PAIR = 2


@dataclass(frozen=True)
class Warp:
    """Warped frames in target cameras."""

    image: Float[Tensor, "target 3 h w"]  # in [-1, 1], -1 in holes
    mask: Bool[Tensor, "target h w"]  # whether a sample reaches the pixel
    depth: Float[Tensor, "target h w"]  # along the optical axis, in world units, 0 in holes


@dataclass(frozen=True)
class Samples:
    """Coloured samples at pixel positions of each target; `one` is 1 or the target count."""

    xy: Float[Tensor, "target n 2"]
    z: Float[Tensor, "target n"]
    rgb: Float[Tensor, "one 3 n"]
    mask: Bool[Tensor, "one n"] | None = None  # samples that count; None: all


def splat(samples: Samples, height: int, width: int) -> Warp:
    """The pictures of `samples` in frames of `height` x `width` pixels.

    Samples with z <= 0 don't count. Targets 0 and 1, 2 and 3, ... are pairs (the last may be
    single) with one `max L` over all their samples, also those that don't count. Targets may
    therefore be split at even positions.
    """
    weight = nearness(samples.z) * (samples.z > 0)
    if samples.mask is not None:
        weight = weight * samples.mask
    targets, pixels = weight.shape[0], height * width
    values = (*samples.rgb.unbind(dim=1), samples.z)
    sums = [weight.new_zeros(targets * pixels) for _ in values]
    total = weight.new_zeros(targets * pixels)
    for corner_weight, index in corners(samples.xy, height, width):
        share = weight * corner_weight.to(weight.dtype)
        total.index_add_(0, index, share.flatten())
        for value, plane in zip(values, sums, strict=True):
            plane.index_add_(0, index, (share * value).flatten())
    mask = total > 0
    divisor = total.where(mask, 1)
    *rgb, z = (
        (plane / divisor).where(mask, fill).view(targets, height, width)
        for plane, fill in zip(sums, (HOLE, HOLE, HOLE, 0.0), strict=True)
    )
    return Warp(torch.stack(rgb, dim=1).clamp(-1, 1), mask.view_as(z), z)


def nearness(z: Float[Tensor, "target n"]) -> Float[Tensor, "target n"]:
    """Weights `1 / exp(50 L / max L)`, the maximum taken over pairs of targets."""
    log_depth = z.clamp_min(0).log1p()
    targets = z.shape[0]
    farthest = F.pad(log_depth.amax(dim=1), (0, targets % PAIR))
    farthest = farthest.view(-1, PAIR).amax(dim=1).repeat_interleave(PAIR)[:targets, None]
    return 1 / ((SHARPNESS * log_depth / (farthest + 1e-7)).exp() + 1e-7)


def corners(
    xy: Float[Tensor, "target n 2"], height: int, width: int
) -> Iterator[tuple[Float[Tensor, "target n"], Int[Tensor, " target*n"]]]:
    """The four pixels around each position: bilinear weights, and indices over all targets.

    At an integer coordinate both neighbours are the pixel itself, with weight 1 each (rounding up
    is a ceiling, not a floor plus one). A pixel beyond the frame has weight 0.
    """
    targets, samples = xy.shape[:2]
    # The original adds a border of one pixel: the same positions must round to integers.
    x, y = (xy + 1).unbind(dim=-1)
    # Weights of 0 are spread over the frame: atomic additions to one pixel wait for each other.
    spread = torch.arange(samples, device=xy.device) % (height * width)
    first = torch.arange(targets, device=xy.device)[:, None] * (height * width)
    for column in (x.floor(), x.ceil()):
        for row in (y.floor(), y.ceil()):
            inside = (column >= 1) & (column <= width) & (row >= 1) & (row <= height)
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            index = (row.long() - 1) * width + column.long() - 1
            index = torch.where(inside, index, spread) + first
            yield weight.where(inside, 0), index.flatten()
