"""The decoder's losses: pure functions of rendered and supervising frames.

Colour is RGB in [0, 1]; depth is z in scene units; zero, negative and non-finite supervising depth
is unknown. All arithmetic is float32. The published code counts unknown pixels as zeros in the
median of a depth map, and applies a second sigmoid to activated opacities; both are fixed here, and
`published_*` reproduces them.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from ...runtime import InputError
from ..settings import check_least

# Bounds of the mean absolute deviation that scales a depth map, in scene units.
MIN_DEPTH_SPREAD, MAX_DEPTH_SPREAD = 1e-3, 1e3
# Fainter Gaussians show nowhere, and pull no further.
LEAST_OPACITY = 1e-4

TERMS = ("mse", "lpips", "depth", "opacity", "solid")

Perceptual = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Weights of the terms, and the published defects to reproduce."""

    mse: float = 1.0
    lpips: float = 0.5
    depth: float = 0.05
    opacity: float = 0.0
    solid: float = 0.0
    published_depth_median: bool = False
    published_opacity: bool = False

    def __post_init__(self) -> None:
        check_least("loss", self, dict.fromkeys(TERMS, 0))


def normalise_depth(
    depth: Float[Tensor, "*batch h w"],
    known: Bool[Tensor, "*batch h w"],
    count_unknown: bool = False,
) -> Float[Tensor, "*batch h w"]:
    """Returns depth with median 0 and mean absolute deviation 1 over `known` pixels; 0 elsewhere.

    With `count_unknown` the (lower) median counts unknown pixels as zeros.
    """
    masked = torch.where(known, depth, 0).flatten(-2)
    flat = known.flatten(-2)
    if count_unknown:
        median = masked.median(dim=-1, keepdim=True).values
    else:
        # Also the lower of two middle values; NaN if no pixel is known.
        median = masked.masked_fill(~flat, torch.nan).nanmedian(dim=-1, keepdim=True).values
        median = median.nan_to_num(0)
    centred = torch.where(flat, masked - median, 0)
    count = flat.sum(dim=-1, keepdim=True).clamp(min=1)
    spread = centred.abs().sum(dim=-1, keepdim=True) / count
    return (centred / spread.clamp(MIN_DEPTH_SPREAD, MAX_DEPTH_SPREAD)).unflatten(
        -1, depth.shape[-2:]
    )


def depth_loss(
    predicted: Float[Tensor, "*batch h w"],
    target: Float[Tensor, "*batch h w"],
    count_unknown: bool = False,
) -> Float[Tensor, ""]:
    """Returns the mean smooth L1 between normalised depth maps; unknown pixels count as equal."""
    known = torch.isfinite(target) & (target > 0)
    ours = normalise_depth(predicted.float(), known, count_unknown)
    theirs = normalise_depth(target.float(), known, count_unknown)
    return F.smooth_l1_loss(ours, theirs)


def opacity_loss(
    opacities: Float[Tensor, "*batch gaussian"], second_sigmoid: bool = False
) -> Float[Tensor, ""]:
    """Returns the mean opacity in (0, 1), which drives needless Gaussians towards pruning."""
    opacities = opacities.float()
    return (opacities.sigmoid() if second_sigmoid else opacities).mean()


def solid_loss(opacities: Float[Tensor, "*batch gaussian"]) -> Float[Tensor, ""]:
    """Returns the mean of -ln(opacity), which makes the kept Gaussians opaque."""
    return -opacities.float().clamp_min(LEAST_OPACITY).log().mean()


@dataclass(frozen=True)
class Supervision:
    """The compared frames, and the depth and opacities that some terms need."""

    color: Float[Tensor, "*batch 3 h w"]
    depth: Float[Tensor, "*batch h w"] | None = None
    opacities: Float[Tensor, "*scene gaussian"] | None = None


def decoder_loss(
    predicted: Supervision,
    target: Supervision,
    config: LossConfig,
    perceptual: Perceptual | None = None,
) -> dict[str, Float[Tensor, ""]]:
    """Returns the weighted sum `loss` and its terms, by the names in `TERMS`.

    A term of weight 0 is not computed, and 0. `perceptual` is LPIPS of two batches of frames in
    [0, 1]. Raises `InputError` for a term that has a weight but not its inputs.
    """
    color, reference = predicted.color.float(), target.color.float()
    lpips = depth = opacity = solid = color.new_zeros(())
    mse = F.mse_loss(color, reference)
    if config.lpips:
        if perceptual is None:
            raise InputError("weight of the LPIPS loss", config.lpips, "0 without its network")
        lpips = perceptual(color.flatten(0, -4), reference.flatten(0, -4)).mean()
    if config.depth:
        if predicted.depth is None or target.depth is None:
            raise InputError("weight of the depth loss", config.depth, "0 for clips without depth")
        depth = depth_loss(predicted.depth, target.depth, config.published_depth_median)
    if config.opacity:
        if predicted.opacities is None:
            raise InputError("weight of the opacity loss", config.opacity, "0 without opacities")
        opacity = opacity_loss(predicted.opacities, config.published_opacity)
    if config.solid:
        if predicted.opacities is None:
            raise InputError("weight of the solid loss", config.solid, "0 without opacities")
        solid = solid_loss(predicted.opacities)
    terms = {"mse": mse, "lpips": lpips, "depth": depth, "opacity": opacity, "solid": solid}
    loss = sum((getattr(config, name) * term for name, term in terms.items()), color.new_zeros(()))
    return {"loss": loss, **terms}
