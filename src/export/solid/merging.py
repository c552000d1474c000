"""Merging: the Gaussians of a small cell, seen from the first camera, become one of equal moments.

The `mass` of a Gaussian is its opacity times the solid angle of its ellipse of one standard
deviation, in units of pi. A cell is `angle` wide in the sine of the direction from the origin,
which is the first camera, and DEPTH_RATIO times as deep in the logarithm of the distance.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...gaussians import Gaussians
from ...geometry.cameras import matrix_to_quaternion, quaternion_to_matrix

DEPTH_RATIO = 3.0
# The range of cell sizes, and how often its logarithm is halved to find one.
ANGLE_MIN, ANGLE_MAX, HALVINGS = 1e-4, 0.3, 20
OPACITY_MAX = 0.95
# Standard deviations and distances below, in world units, count as this.
TINY = 1e-5


def merge(gaussians: Gaussians, count: int, opacity: float, finest: float = 0.0) -> Gaussians:
    """Returns at most `count` Gaussians of at least `opacity` that cover about the same pixels.

    A merged Gaussian has the mean colour, mean and covariance of its cell, weighted by mass. Where
    its mass asks for less than `opacity`, it is opaque and smaller instead, and dropped
    where its size, seen from the origin, falls under `finest` (a tangent). A scene that needs more
    than `count` cells of the largest size keeps these.
    """
    exact = gaussians.to(torch.float64)
    index = _cells(exact.means, count)
    covariance = _covariance(exact)
    mass = exact.opacities * solid_angle(covariance, exact.means)
    total = mass.new_zeros(int(index.max()) + 1).index_add_(0, index, mass)
    share = mass / total[index]
    means = _sum(share[:, None] * exact.means, index)
    offset = exact.means - means[index]
    spread = covariance + offset[:, :, None] * offset[:, None, :]
    spread = _sum(share[:, None, None] * spread, index)
    # Overlapping layers let through the product of what each of them lets through.
    wanted = 1 - torch.exp(-total / solid_angle(spread, means))
    opacities = wanted.clamp(opacity, OPACITY_MAX)
    variances, axes = torch.linalg.eigh(spread)
    shrink = (wanted / opacities).sqrt().clamp(max=1)[:, None]
    scales = variances.clamp(min=0).sqrt() * shrink
    merged = Gaussians(
        means=means,
        opacities=opacities,
        scales=scales.clamp(min=TINY),
        quats=matrix_to_quaternion(axes * torch.linalg.det(axes).sign()[:, None, None]),
        colors=_sum(share[:, None] * exact.colors, index),
    )
    # The two largest of the axes, which ascend, are the ones that are seen.
    kept = scales[:, 1:].prod(dim=1).sqrt() >= finest * means.norm(dim=1)
    return merged.map(lambda part: part[kept]).to(gaussians.means.dtype)


def solid_angle(
    covariance: Float[Tensor, "gaussian 3 3"], means: Float[Tensor, "gaussian 3"]
) -> Float[Tensor, " gaussian"]:
    """Returns the solid angles in units of pi that Gaussians cover, seen from the origin.

    The squared area of an ellipsoid's shadow along the unit vector `d` is `d^T adj(covariance) d`.
    """
    distance = means.norm(dim=1).clamp(min=TINY)
    x, y, z = covariance.unbind(1)
    cofactors = torch.stack(
        [torch.linalg.cross(y, z), torch.linalg.cross(z, x), torch.linalg.cross(x, y)], dim=1
    )
    ray = (means / distance[:, None])[:, :, None]
    area = (ray.mT @ cofactors @ ray)[:, 0, 0].clamp(min=TINY**4).sqrt()
    return area / distance.square()


def _covariance(gaussians: Gaussians) -> Float[Tensor, "gaussian 3 3"]:
    axes = quaternion_to_matrix(gaussians.quats) * gaussians.scales[:, None, :]
    return axes @ axes.mT


def _sum(
    values: Float[Tensor, " gaussian *shape"], index: Int[Tensor, " gaussian"]
) -> Float[Tensor, " cell *shape"]:
    cells = int(index.max()) + 1
    return values.new_zeros(cells, *values.shape[1:]).index_add_(0, index, values)


def _cells(means: Float[Tensor, "gaussian 3"], count: int) -> Int[Tensor, " gaussian"]:
    """Returns the number of each Gaussian's cell, where the smallest cells are `count` or fewer."""
    low, high = ANGLE_MIN, ANGLE_MAX
    index = _cells_of(means, high)
    for _ in range(HALVINGS):
        angle = (low * high) ** 0.5
        found = _cells_of(means, angle)
        if int(found.max()) < count:
            index, high = found, angle
        else:
            low = angle
    return index


def _cells_of(means: Float[Tensor, "gaussian 3"], angle: float) -> Int[Tensor, " gaussian"]:
    distance = means.norm(dim=1, keepdim=True).clamp(min=TINY)
    across = means[:, :2] / distance / angle
    depth = distance.log() / (DEPTH_RATIO * angle)
    # Behind the camera, the same sines are other directions.
    place = torch.cat([across, depth, means[:, 2:].sign()], dim=1).floor().long()
    place = place - place.amin(dim=0)
    sizes = place.amax(dim=0) + 1
    key = place[:, 0]
    for axis in range(1, 4):
        key = key * sizes[axis] + place[:, axis]
    return key.unique(return_inverse=True)[1]
