"""Gaussians in camera space, and what a projection says about them.

`mean` is the mean in camera space, `axes` the 3x3 matrix whose columns are the principal axes in
camera space, each as long as its standard deviation, so `axes @ axes.T` is the covariance. A
footprint is the box `center +- radius` of pixels that a Gaussian may touch; like the published
renderer's, it ends where the opacity falls under 1/255 or after 3.33 standard deviations.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..gaussians import Gaussians

ALPHA_MIN = 1.0 / 255.0
EXTENT_MAX = 3.33
# Variance in square pixels by which every projected Gaussian is widened.
BLUR = 0.3


@dataclass(frozen=True)
class CameraGaussians:
    """Gaussians as cameras see them; the batch is frames x gaussians, or a list of such pairs."""

    mean: Float[Tensor, "*batch 3"]
    axes: Float[Tensor, "*batch 3 3"]
    scales: Float[Tensor, "*batch 3"]
    opacities: Float[Tensor, "*batch"]
    intrinsics: Float[Tensor, "*batch 4"]


@dataclass(frozen=True)
class Footprint:
    """Boxes of touched pixels, the depth to sort by, and whether anything is touched at all."""

    center: Float[Tensor, "*batch 2"]
    radius: Float[Tensor, "*batch 2"]
    depth: Float[Tensor, "*batch"]
    visible: Bool[Tensor, "*batch"]

    def at(self, index: Int[Tensor, " chosen"]) -> "Footprint":
        """Some of a list of footprints."""
        parts = (self.center, self.radius, self.depth, self.visible)
        return Footprint(*(part.index_select(0, index) for part in parts))


def quaternions_to_matrices(quats: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 3 3"]:
    """Rotation matrices of `wxyz` quaternions of any non-zero length."""
    w, x, y, z = torch.nn.functional.normalize(quats, dim=-1, eps=0.0).unbind(-1)
    entries = (
        *(1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        *(2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        *(2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))


def to_camera_space(
    gaussians: Gaussians,
    w2c: Float[Tensor, "*#batch 4 4"],
    intrinsics: Float[Tensor, "*#batch 4"],
) -> CameraGaussians:
    """The Gaussians seen by the cameras, batch dimensions broadcast against each other."""
    rotation, translation = w2c[..., :3, :3], w2c[..., :3, 3]
    mean = (rotation @ gaussians.means[..., None])[..., 0] + translation
    # Columns are the principal axes, each as long as its standard deviation.
    axes = rotation @ (quaternions_to_matrices(gaussians.quats) * gaussians.scales[..., None, :])
    batch = mean.shape[:-1]
    return CameraGaussians(
        mean,
        axes,
        gaussians.scales.expand(*batch, 3),
        gaussians.opacities.expand(batch),
        intrinsics.expand(*batch, 4),
    )


def opacity_aware_footprint(
    center: Float[Tensor, "*batch 2"],
    covariance: Float[Tensor, "*batch 3"],
    peak: Float[Tensor, "*batch"],
    depth: Float[Tensor, "*batch"],
    size: tuple[int, int],
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
    return Footprint(center, radius, depth, inside & (peak >= ALPHA_MIN))
