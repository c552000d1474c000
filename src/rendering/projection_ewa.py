"""EWA projection: a Gaussian becomes the 2D Gaussian of the local affine camera at its mean.

Covariances are `xx, xy, yy` in square pixels. The response of a Gaussian at the offset `(x, y)` in
pixels from its centre is `exp(-power)`, `power = (a x + b y)^2 + (d y)^2`.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from .options import RasterizeOptions
from .projection import BLUR, CameraGaussians, Footprint, opacity_aware_footprint

# The affine map is taken at most this share of the field of view outside the picture.
FIELD_MARGIN = 0.3


def project_ewa(
    gaussians: CameraGaussians, size: tuple[int, int]
) -> tuple[Float[Tensor, "*batch 2"], Float[Tensor, "*batch 3"]]:
    """Centres in pixels and blurred covariances (Zwicker et al. 2001) at `size` (width, height)."""
    focal, principal = gaussians.intrinsics[..., :2], gaussians.intrinsics[..., 2:]
    z = gaussians.mean[..., 2:]
    slope = gaussians.mean[..., :2] / z
    limit = slope.new_tensor(size)
    margin = FIELD_MARGIN * 0.5 * limit / focal
    # Clamped because the affine map explodes far outside the picture.
    tangent = slope.clamp(-principal / focal - margin, (limit - principal) / focal + margin)
    x_axis, y_axis, z_axis = gaussians.axes.unbind(-2)
    scale = focal / z
    row_x = scale[..., :1] * (x_axis - tangent[..., :1] * z_axis)
    row_y = scale[..., 1:] * (y_axis - tangent[..., 1:] * z_axis)
    products = (row_x * row_x, row_x * row_y, row_y * row_y)
    covariance = torch.stack([product.sum(-1) for product in products], dim=-1)
    return focal * slope + principal, covariance + covariance.new_tensor([BLUR, 0, BLUR])


def footprint_ewa(
    gaussians: CameraGaussians, size: tuple[int, int], options: RasterizeOptions
) -> Footprint:
    """The pixels that the Gaussians may touch."""
    center, covariance = project_ewa(gaussians, size)
    return opacity_aware_footprint(
        center=center,
        covariance=covariance,
        peak=gaussians.opacities,
        depth=gaussians.mean[..., 2],
        size=size,
        options=options,
    )


def response_ewa(
    gaussians: CameraGaussians, size: tuple[int, int]
) -> tuple[Float[Tensor, "splat 2"], Float[Tensor, "splat 3"]]:
    """Centres, and the factors `a, b, d` of half the inverse covariances."""
    center, covariance = project_ewa(gaussians, size)
    xx, xy, yy = covariance.unbind(-1)
    determinant = xx * yy - xy * xy
    a = (yy / determinant).sqrt()
    b = -xy / (determinant * yy).sqrt()
    return center, torch.stack([a, b, yy.rsqrt()], dim=-1) * 0.5**0.5
