"""3DGUT: an unscented projection finds the touched pixels, rays meet the Gaussians in 3D.

Wu et al. 2025, 3DGUT. With `M` the world-to-Gaussian whitening in camera axes, `d` the direction
of a pixel's ray and `m` the mean, the power of the response is `|M d x M m|^2 / (2 |M d|^2)`.
With `(x, y)` the offset in pixels from the projected mean, `M d` is affine in it; after a
rotation of the whitened space this is

    ((a x + b y)^2 + (d y)^2) / ((A x + B y + C)^2 + (D y + E)^2 + F^2),   C^2 + E^2 + F^2 = 1.

These sums of squares stay accurate in float32 where expanded polynomials would cancel.
"""

from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .options import RasterizeOptions
from .projection import BLUR, CameraGaussians, Footprint, opacity_aware_footprint

# Sigma points, Wan and van der Merwe 2000 with alpha 0.1, beta 2, kappa 0 in three dimensions:
# their distance in standard deviations is the root of alpha^2 (3 + kappa).
SPREAD_SQUARED = 0.03
POINT_WEIGHT = 1 / (2 * SPREAD_SQUARED)
CENTER_COVARIANCE_WEIGHT = 1 - 6 * POINT_WEIGHT + (1 - 0.1**2 + 2)
# A sigma point may lie this share of the picture outside of it.
IMAGE_MARGIN = 0.1
# In world units; thinner Gaussians have no 3D response that float32 could hold.
SCALE_MIN = 1e-12


def project_unscented(
    gaussians: CameraGaussians, size: tuple[int, int]
) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch 3"], Bool[Tensor, "*batch"]]:
    """Mean and covariance (`xx, xy, yy`, not blurred) of the projected sigma points; validity.

    A Gaussian is valid if its seven points lie in front of the camera and at most 10 % of the
    picture's `size` (width, height) outside of it.
    """
    offsets = SPREAD_SQUARED**0.5 * gaussians.axes.mT
    mean = gaussians.mean[..., None, :]
    points = torch.cat([mean, mean + offsets, mean - offsets], dim=-2)
    focal, principal = gaussians.intrinsics[..., None, :].split(2, dim=-1)
    pixels = points[..., :2] / points[..., 2:] * focal + principal
    limit = pixels.new_tensor(size)
    margin = IMAGE_MARGIN * limit
    inside = ((pixels >= -margin) & (pixels < limit + margin)).all(dim=-1)
    valid = (inside & (points[..., 2] > 0)).all(dim=-1)
    # The mean's weights are -99 and 6 x 16.7; offsets from the central point don't cancel.
    delta = pixels[..., 1:, :] - pixels[..., :1, :]
    shift = POINT_WEIGHT * delta.sum(dim=-2)
    spread = delta - shift[..., None, :]
    x, y = spread.unbind(-1)
    sums = torch.stack([(x * x).sum(-1), (x * y).sum(-1), (y * y).sum(-1)], dim=-1)
    shift_x, shift_y = shift.unbind(-1)
    center_term = torch.stack([shift_x * shift_x, shift_x * shift_y, shift_y * shift_y], dim=-1)
    covariance = POINT_WEIGHT * sums + CENTER_COVARIANCE_WEIGHT * center_term
    return pixels[..., 0, :] + shift, covariance, valid


def meets_ut(
    mean: Float[Tensor, "*batch 3"],
    intrinsics: Float[Tensor, "*#batch 4"],
    size: tuple[int, int],
) -> Bool[Tensor, "*batch"]:
    """Whether Gaussians may be valid, by their means in camera space alone."""
    focal, principal = intrinsics.split(2, dim=-1)
    pixels = mean[..., :2] / mean[..., 2:] * focal + principal
    limit = pixels.new_tensor(size)
    # A pixel more than `project_unscented` allows, for the rounding.
    margin = IMAGE_MARGIN * limit + 1
    return ((pixels >= -margin) & (pixels < limit + margin)).all(dim=-1)


def footprint_ut(
    gaussians: CameraGaussians, size: tuple[int, int], options: RasterizeOptions
) -> Footprint:
    """The pixels that the Gaussians may touch.

    Faint sub-pixel Gaussians vanish: culling and extent multiply the opacity by the share of it
    that survives the blur; blending does not.
    """
    center, covariance, valid = project_unscented(gaussians, size)
    blurred = covariance + covariance.new_tensor([BLUR, 0, BLUR])
    determinant = blurred[..., 0] * blurred[..., 2] - blurred[..., 1] ** 2
    sharp = covariance[..., 0] * covariance[..., 2] - covariance[..., 1] ** 2
    peak = gaussians.opacities * (sharp / determinant).clamp(min=0).sqrt()
    footprint = opacity_aware_footprint(
        center=center,
        covariance=blurred,
        peak=peak,
        depth=gaussians.mean[..., 2],
        size=size,
        options=options,
    )
    solid = (determinant > 0) & (gaussians.scales > SCALE_MIN).all(dim=-1)
    return replace(footprint, visible=footprint.visible & valid & solid)


def response_ut(
    gaussians: CameraGaussians,
) -> tuple[Float[Tensor, "splat 2"], Float[Tensor, "splat 3"], Float[Tensor, "splat 6"]]:
    """Projected means, and the factors `a, b, d` and `A, B, C, D, E, F` of the response."""
    focal, principal = gaussians.intrinsics.split(2, dim=-1)
    depth = gaussians.mean[..., 2:]
    ray = gaussians.mean / depth
    whiten = (gaussians.axes / gaussians.scales[..., None, :] ** 2).mT
    along_x, along_y = whiten[..., 0] / focal[..., :1], whiten[..., 1] / focal[..., 1:]
    center = (whiten @ ray[..., None])[..., 0]
    # QR of (along_x, along_y, center); the determinant, which is exact, gives the last pivot.
    xx = along_x.norm(dim=-1)
    x_axis = along_x / xx[..., None]
    xy = (x_axis * along_y).sum(-1)
    rest = along_y - xy[..., None] * x_axis
    yy = rest.norm(dim=-1)
    y_axis = rest / yy[..., None]
    cx, cy = (x_axis * center).sum(-1), (y_axis * center).sum(-1)
    cz = 1 / (gaussians.scales.prod(-1) * focal.prod(-1) * xx * yy)
    length = (cx * cx + cy * cy + cz * cz).sqrt()
    cx, cy, cz = cx / length, cy / length, cz / length
    tilt = (cy * cy + cz * cz).sqrt()
    numerator = torch.stack([xx * tilt, xy * tilt - yy * cx * cy / tilt, yy * cz / tilt], dim=-1)
    denominator = torch.stack([xx / length, xy / length, cx, yy / length, cy, cz], dim=-1)
    return focal * ray[..., :2] + principal, numerator * (depth * 0.5**0.5), denominator
