"""Gaussians in camera space, and their footprints and responses in the picture, by 3DGUT and EWA.

`mean` is the mean in camera space, `axes` the 3x3 matrix whose columns are the principal axes in
camera space, each as long as its standard deviation, so `axes @ axes.T` is the covariance. A
footprint is the box `center +- radius` of pixels that a Gaussian may touch. As in the published
renderer, it ends where the opacity falls under 1/255 or after 3.33 standard deviations.
Covariances in the picture are `xx, xy, yy` in square pixels. The response of a Gaussian at the
offset `(x, y)` in pixels from its centre is `exp(-power)`.

EWA: a Gaussian becomes the 2D Gaussian of the local affine camera at its mean, with
`power = (a x + b y)^2 + (d y)^2`.

3DGUT (Wu et al. 2025): an unscented projection finds the touched pixels, rays meet the Gaussians in
3D. With `M` the world-to-Gaussian whitening in camera axes, `d` the direction of a pixel's ray and
`m` the mean, the power is `|M d x M m|^2 / (2 |M d|^2)`. `M d` is affine in `(x, y)`; after a
rotation of the whitened space this is

    ((a x + b y)^2 + (d y)^2) / ((A x + B y + C)^2 + (D y + E)^2 + F^2),   C^2 + E^2 + F^2 = 1.

These sums of squares stay accurate in float32 where expanded polynomials would cancel.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..gaussians import Gaussians
from ..geometry.cameras import quaternion_to_matrix
from .options import RasterizeOptions

ALPHA_MIN = 1.0 / 255.0
EXTENT_MAX = 3.33
# Variance in square pixels by which every projected Gaussian is widened.
BLUR = 0.3
# The affine map is taken at most this share of the field of view outside the picture.
FIELD_MARGIN = 0.3
# Sigma points, Wan and van der Merwe 2000 with alpha 0.1, beta 2, kappa 0 in three dimensions:
# their distance in standard deviations is the root of alpha^2 (3 + kappa).
SPREAD_SQUARED = 0.03
POINT_WEIGHT = 1 / (2 * SPREAD_SQUARED)
CENTER_COVARIANCE_WEIGHT = 1 - 6 * POINT_WEIGHT + (1 - 0.1**2 + 2)
# A sigma point may lie this share of the picture outside of it.
IMAGE_MARGIN = 0.1
# In world units; thinner Gaussians have no 3D response that float32 could hold.
SCALE_MIN = 1e-12


@dataclass(frozen=True)
class CameraGaussians:
    """Gaussians in the axes of cameras; the batch is frames x gaussians, or a list of pairs."""

    mean: Float[Tensor, "*batch 3"]
    axes: Float[Tensor, "*batch 3 3"]
    scales: Float[Tensor, "*batch 3"]
    opacities: Float[Tensor, "*batch"]
    intrinsics: Float[Tensor, "*batch 4"]


@dataclass(frozen=True)
class Footprint:
    """Boxes of touched pixels, the depth to sort by, and whether any pixel is touched."""

    center: Float[Tensor, "*batch 2"]
    radius: Float[Tensor, "*batch 2"]
    depth: Float[Tensor, "*batch"]
    visible: Bool[Tensor, "*batch"]

    def at(self, index: Int[Tensor, " chosen"]) -> "Footprint":
        """The footprints at `index` of a list."""
        return Footprint(
            center=self.center.index_select(0, index),
            radius=self.radius.index_select(0, index),
            depth=self.depth.index_select(0, index),
            visible=self.visible.index_select(0, index),
        )


def to_camera_space(
    gaussians: Gaussians, w2c: Float[Tensor, "*#batch 4 4"], intrinsics: Float[Tensor, "*#batch 4"]
) -> CameraGaussians:
    """The Gaussians in the axes of the cameras; batch dimensions broadcast."""
    rotation, translation = w2c[..., :3, :3], w2c[..., :3, 3]
    mean = (rotation @ gaussians.means[..., None])[..., 0] + translation
    axes = rotation @ (quaternion_to_matrix(gaussians.quats) * gaussians.scales[..., None, :])
    batch = mean.shape[:-1]
    return CameraGaussians(
        mean=mean,
        axes=axes,
        scales=gaussians.scales.expand(*batch, 3),
        opacities=gaussians.opacities.expand(batch),
        intrinsics=intrinsics.expand(*batch, 4),
    )


def opacity_aware_footprint(
    center: Float[Tensor, "*batch 2"],
    covariance: Float[Tensor, "*batch 3"],
    peak: Float[Tensor, "*batch"],
    depth: Float[Tensor, "*batch"],
    size: tuple[int, int],
    options: RasterizeOptions,
) -> Footprint:
    """The box of a blurred 2D Gaussian, given as `xx, xy, yy`, with opacity `peak` at its centre.

    The half sides are whole pixels: `ceil(min(3.33, sqrt(2 ln(255 peak))) sigma)` per axis
    (Radl et al. 2024, StopThePop, appendix B.2). `size` is (width, height) of the picture.
    """
    extent = (2 * (peak / ALPHA_MIN).log()).sqrt().clamp(max=EXTENT_MAX)
    radius = (extent[..., None] * covariance[..., ::2].sqrt()).ceil()
    limit = center.new_tensor(size)
    # Each comparison is false for NaN, so that broken Gaussians are invisible.
    inside = ((center + radius > 0) & (center - radius < limit) & (radius > 0)).all(dim=-1)
    in_range = (depth >= options.near) & (depth <= options.far)
    visible = inside & (peak >= ALPHA_MIN) & in_range
    return Footprint(center=center, radius=radius, depth=depth, visible=visible)


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
