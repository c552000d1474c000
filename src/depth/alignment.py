"""The alignment of a depth map to another one of the same camera: rigid, then pixel by pixel.

`source` is the depth to align, `target` the depth rendered from the known scene, `mask` its pixels;
inverse depth is 1 / depth. Pixel (i, j) has its centre at (i, j), as in the warps.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from ..geometry.rays import plane_coordinates
from ..runtime import InputError

LOW_QUANTILE, HIGH_QUANTILE = 0.1, 0.9


@dataclass(frozen=True, kw_only=True)
class ScaleSettings:
    """Settings of the per-pixel scale's optimisation (Adam), as published."""

    steps: int = 100
    learning_rate: float = 1e-3
    smoothness: float = 0.1
    box: int = 3


def align_rigid(
    source: Float[Tensor, "h w"], target: Float[Tensor, "h w"], mask: Bool[Tensor, "h w"]
) -> Float[Tensor, "h w"]:
    """The source with inverse depth `s / source + b`, s and b fitted to `1 / target`.

    Least squares over the pixels strictly inside the 10-90 % quantiles of both inverse depths. As
    published, the target's quantiles are those of the masked pixels, but the fit uses unmasked
    pixels too. The result is not clamped: it may be negative, and NaN stays NaN. Raises
    `InputError` if fewer than two pixels, or a single source depth, are left to fit.
    """
    inverse_source, inverse_target = 1 / source, 1 / target
    inside = _inside_quantiles(inverse_source, source > 0, "source depth")
    inside &= _inside_quantiles(inverse_target, mask & (target > 0), "target depth")
    # The normal equations square the condition number: float64, around the mean.
    x, y = inverse_source[inside].double(), inverse_target[inside].double()
    centred = x - x.mean()
    spread = centred.square().sum()
    if len(x) < 2 or not spread > 0:
        value = f"{len(x)} of {source.numel()} pixels inside both quantile ranges"
        raise InputError("depth alignment", value, "two or more, of different source depth")
    slope = (centred * y).sum() / spread
    offset = y.mean() - slope * x.mean()
    return 1 / (slope.to(source) * inverse_source + offset.to(source))


def align_non_rigid(
    source: Float[Tensor, "h w"],
    target: Float[Tensor, "h w"],
    mask: Bool[Tensor, "h w"],
    intrinsics: Float[Tensor, "4"],
    w2c: Float[Tensor, "4 4"],
    settings: ScaleSettings | None = None,
) -> Float[Tensor, "h w"]:
    """The rigidly aligned source times a smooth scale map that moves its points to the target's.

    Minimises the mean L1 distance (world axes) between the masked points, plus `smoothness` times
    the mean of `|box-filtered scale - scale|`, whose zero padding lowers scales at the border. The
    published code passes `c2w` as `w2c`. Works under `no_grad` and `inference_mode`. Raises as
    `align_rigid`, and `InputError` without a masked pixel with a depth in both maps.
    """
    settings = settings or ScaleSettings()
    # Tensors of a caller's inference mode cannot be differentiated; copies made here can.
    with torch.inference_mode(False), torch.enable_grad():
        rigid = align_rigid(source, target, mask).detach()
        used = mask & (target > 0) & target.isfinite() & rigid.isfinite()
        if not used.any():
            value = f"0 of {int(mask.sum())} masked pixels with depth in both maps"
            raise InputError("depth alignment", value, "one or more")
        # Both points of a pixel lie on one ray: their distance is the depths' times its L1 length.
        weight = _ray_lengths(source.shape, intrinsics, w2c) / (3 * used.sum())
        weight = torch.where(used, weight, 0).detach()
        moving = torch.where(used, rigid, 0)
        fixed = torch.where(used, target, 0).detach()
        scale = torch.ones_like(rigid).requires_grad_()
        optimizer = torch.optim.Adam([scale], lr=settings.learning_rate)
        for _ in range(settings.steps):
            optimizer.zero_grad()
            distance = (weight * (scale * moving - fixed).abs()).sum()
            (distance + settings.smoothness * _roughness(scale, settings.box)).backward()
            optimizer.step()
        return rigid * scale.detach()


def _inside_quantiles(
    values: Float[Tensor, "h w"], valid: Bool[Tensor, "h w"], name: str
) -> Bool[Tensor, "h w"]:
    """A mask of all values strictly inside the 10-90 % quantiles of the valid ones."""
    chosen = values[valid]
    if not len(chosen):
        raise InputError(name, f"0 of {valid.numel()} pixels with a depth", "one or more")
    low, high = torch.quantile(chosen, chosen.new_tensor([LOW_QUANTILE, HIGH_QUANTILE]))
    # Strictly, to leave out constant depth beyond a quantile, such as a saturated sky.
    return (values > low) & (values < high)


def _ray_lengths(
    shape: torch.Size, intrinsics: Float[Tensor, "4"], w2c: Float[Tensor, "4 4"]
) -> Float[Tensor, "h w"]:
    """L1 length, in world axes, of every pixel's ray with z = 1 in the camera."""
    x, y = plane_coordinates(intrinsics, shape[0], shape[1], pixel_offset=0.0)
    y, x = torch.meshgrid(y, x, indexing="ij")
    rays = torch.stack((x, y, torch.ones_like(x)), dim=-1)
    return (rays @ w2c[:3, :3]).abs().sum(dim=-1)


def _roughness(scale: Float[Tensor, "h w"], box: int) -> Float[Tensor, ""]:
    """Mean distance of the scale from its own box filter, which pads with zeros."""
    # A convolution, not a pooling: without masked points, rounding decides the gradient's sign.
    kernel = scale.new_full((1, 1, box, box), 1 / box**2)
    smooth = functional.conv2d(scale[None, None], kernel, padding=box // 2)[0, 0]
    return (smooth - scale).abs().mean()
