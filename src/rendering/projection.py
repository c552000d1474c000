"""Gaussians in camera space, and their footprints in the picture.

`mean` is the mean in camera space, `axes` the 3x3 matrix whose columns are the principal axes in
camera space, each as long as its standard deviation, so `axes @ axes.T` is the covariance. A
footprint is the box `center +- radius` of pixels that a Gaussian may touch. As in the published
renderer, it ends where the opacity falls under 1/255 or after 3.33 standard deviations.
"""

from dataclasses import dataclass

from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..gaussians import Gaussians
from ..geometry.cameras import quaternion_to_matrix
from .options import RasterizeOptions

ALPHA_MIN = 1.0 / 255.0
EXTENT_MAX = 3.33
# Variance in square pixels by which every projected Gaussian is widened.
BLUR = 0.3


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
