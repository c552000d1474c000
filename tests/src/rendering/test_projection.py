"""Both projections against direct evaluations of their definitions, in float64."""

from collections.abc import Callable

import torch
from torch import Tensor

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras, quaternion_to_matrix
from src.rendering.options import RasterizeOptions
from src.rendering.projection import (
    CameraGaussians,
    footprint_ewa,
    footprint_ut,
    project_ewa,
    project_unscented,
    response_ewa,
    response_ut,
    to_camera_space,
)

MakeScene = Callable[..., tuple[Gaussians, Cameras]]


def one_frame(make_scene: MakeScene, count: int) -> tuple[CameraGaussians, tuple[int, int]]:
    gaussians, cameras = make_scene(count, frames=1)
    seen = to_camera_space(gaussians.to(torch.float64), cameras.w2c, cameras.intrinsics)
    front = seen.mean[:, 2] > 0.1
    parts = (seen.mean, seen.axes, seen.scales, seen.opacities, seen.intrinsics)
    return CameraGaussians(*(part[front] for part in parts)), (cameras.width, cameras.height)


def pixels(points: Tensor, intrinsics: Tensor) -> Tensor:
    return points[..., :2] / points[..., 2:] * intrinsics[..., :2] + intrinsics[..., 2:]


def matrix(covariance: Tensor) -> Tensor:
    xx, xy, yy = covariance.unbind(-1)
    return torch.stack([xx, xy, xy, yy], dim=-1).unflatten(-1, (2, 2))


def test_quaternions_turn_as_the_sandwich_product_does() -> None:
    """Would catch a wrong order of the components or a transposed matrix."""
    quarter_about_z = torch.tensor([2.0, 0.0, 0.0, 2.0])
    turned = quaternion_to_matrix(quarter_about_z) @ torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(turned, torch.tensor([0.0, 1.0, 0.0]))
    rotations = quaternion_to_matrix(torch.randn(50, 4, dtype=torch.float64))
    identity = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    torch.testing.assert_close(rotations @ rotations.mT, identity)
    torch.testing.assert_close(torch.linalg.det(rotations), identity[:, 0, 0])


def test_ewa_covariance_is_that_of_the_linearised_camera(make_scene: MakeScene) -> None:
    """Would catch a wrong entry of the affine map: it is the Jacobian of the projection."""
    seen, size = one_frame(make_scene, 200)
    center, covariance = project_ewa(seen, size)
    torch.testing.assert_close(center, pixels(seen.mean, seen.intrinsics))
    inside = ((center > 0) & (center < torch.tensor(size))).all(dim=1).nonzero()[:, 0]
    assert len(inside) > 50
    for index in inside[::7].tolist():
        jacobian = torch.autograd.functional.jacobian(
            lambda point, index=index: pixels(point, seen.intrinsics[index]), seen.mean[index]
        )
        root = jacobian @ seen.axes[index]
        expected = root @ root.mT + 0.3 * torch.eye(2, dtype=torch.float64)
        torch.testing.assert_close(matrix(covariance[index]), expected)


def test_ewa_affine_map_is_clamped_outside_the_picture() -> None:
    """Would catch a missing clamp: beyond 1.3 times the field of view the map stays the same."""
    size, intrinsics = (40, 30), torch.tensor([20.0, 20, 20, 15], dtype=torch.float64)
    axes, scales = torch.eye(3).double() * 0.1, torch.full((3,), 0.1).double()
    covariances = [
        project_ewa(
            CameraGaussians(
                torch.tensor([x, 0.0, 1.0]).double(), axes, scales, scales[0], intrinsics
            ),
            size,
        )[1]
        for x in (1.2, 1.3, 5.0, 50.0)
    ]
    assert not torch.allclose(covariances[0], covariances[1])
    torch.testing.assert_close(covariances[1], covariances[2])
    torch.testing.assert_close(covariances[1], covariances[3])


def test_ewa_response_is_the_inverse_covariance(make_scene: MakeScene) -> None:
    """Would catch a wrong factor of the inverse or a missing one half."""
    seen, size = one_frame(make_scene, 100)
    _, covariance = project_ewa(seen, size)
    _, factors = response_ewa(seen, size)
    a, b, d = factors.unbind(-1)
    offset = torch.randn(len(a), 2, dtype=torch.float64)
    power = (a * offset[:, 0] + b * offset[:, 1]) ** 2 + (d * offset[:, 1]) ** 2
    solved = torch.linalg.solve(matrix(covariance), offset)
    torch.testing.assert_close(power, 0.5 * (solved * offset).sum(-1))


def test_unscented_moments_are_the_weighted_sums(make_scene: MakeScene) -> None:
    """Would catch a wrong weight, spread or sigma point."""
    seen, size = one_frame(make_scene, 200)
    center, covariance, _ = project_unscented(seen, size)
    weights = torch.full((7,), 1 / 0.06, dtype=torch.float64)
    weights[0] = -2.97 / 0.03
    steps = (seen.axes * 0.03**0.5).mT
    mean = seen.mean[:, None]
    points = pixels(torch.cat([mean, mean + steps, mean - steps], 1), seen.intrinsics[:, None])
    expected = (weights[:, None] * points).sum(1)
    torch.testing.assert_close(center, expected)
    weights[0] += 1 - 0.01 + 2
    delta = points - expected[:, None]
    outer = torch.einsum("p,npi,npj->nij", weights, delta, delta)
    torch.testing.assert_close(matrix(covariance), outer, rtol=1e-7, atol=1e-9)


def test_small_gaussians_project_alike(make_scene: MakeScene) -> None:
    """Would catch an unscented covariance off by a factor: for small Gaussians it is EWA's."""
    seen, size = one_frame(make_scene, 200)
    tiny = CameraGaussians(
        seen.mean, seen.axes * 1e-3, seen.scales * 1e-3, seen.opacities, seen.intrinsics
    )
    center, covariance, valid = project_unscented(tiny, size)
    ewa_center, ewa_covariance = project_ewa(tiny, size)
    blur = torch.tensor([0.3, 0.0, 0.3], dtype=torch.float64)
    assert valid.sum() > 50
    torch.testing.assert_close(center[valid], ewa_center[valid], rtol=0, atol=1e-4)
    difference = (covariance + blur - ewa_covariance)[valid].norm(dim=1)
    assert (difference / covariance[valid].norm(dim=1)).max() < 1e-3


def test_validity_needs_all_points_in_front_and_in_the_picture() -> None:
    """Would catch 'any point' instead of 'all points', a missing margin, a missing z > 0."""
    size, intrinsics = (100, 100), torch.tensor([100.0, 100, 50, 50], dtype=torch.float64)
    unit = torch.eye(3, dtype=torch.float64)

    def valid(x: float, z: float, scale: float) -> bool:
        scales = torch.full((3,), scale, dtype=torch.float64)
        mean = torch.tensor([x, 0.0, z], dtype=torch.float64)
        seen = CameraGaussians(mean, unit * scale, scales, scales[0], intrinsics)
        return bool(project_unscented(seen, size)[2])

    assert valid(0.59, 1.0, 1e-3), "within 10 % of the picture"
    assert not valid(0.61, 1.0, 1e-3), "beyond 10 % of the picture"
    assert not valid(0.59, 1.0, 0.2), "one sigma point beyond 10 %"
    assert not valid(0.0, 1.0, 6.0), "one sigma point behind the camera"
    assert valid(0.0, 1.0, 0.5)


def test_ray_response_is_that_of_the_whitened_rays(make_scene: MakeScene) -> None:
    """Would catch an error in the triangular form: the definition normalises and crosses."""
    seen, size = one_frame(make_scene, 200)
    center, numerator, denominator = response_ut(seen)
    (a, b, d), (A, B, C, D, E, F) = numerator.unbind(-1), denominator.unbind(-1)
    pixel = torch.rand(len(a), 2, dtype=torch.float64) * torch.tensor(size)
    x, y = (pixel - center).unbind(-1)
    power = ((a * x + b * y) ** 2 + (d * y) ** 2) / (
        (A * x + B * y + C) ** 2 + (D * y + E) ** 2 + F**2
    )
    slope = (pixel - seen.intrinsics[:, 2:]) / seen.intrinsics[:, :2]
    ray = torch.nn.functional.normalize(torch.cat([slope, torch.ones(len(a), 1)], 1), dim=1)
    whiten = torch.linalg.inv(seen.axes)
    direction = torch.nn.functional.normalize((whiten @ ray[..., None])[..., 0], dim=1)
    toward = (whiten @ -seen.mean[..., None])[..., 0]
    expected = 0.5 * torch.linalg.cross(direction, toward).square().sum(-1)
    torch.testing.assert_close(power, expected)


def test_footprints_hold_every_visible_pixel(make_scene: MakeScene) -> None:
    """Would catch an extent that is too small: outside the box alpha is under 1/255, or the
    pixel is more than 3.33 standard deviations away."""
    seen, size = one_frame(make_scene, 300)
    footprint = footprint_ewa(seen, size, RasterizeOptions(mode="ewa"))
    center, factors = response_ewa(seen, size)
    a, b, d = factors[footprint.visible].T[..., None]
    grid = torch.cartesian_prod(torch.arange(size[0]), torch.arange(size[1])) + 0.5
    offset = grid - center[footprint.visible][:, None]
    power = (a * offset[..., 0] + b * offset[..., 1]) ** 2 + (d * offset[..., 1]) ** 2
    alpha = seen.opacities[footprint.visible][:, None] * (-power).exp()
    outside = (offset.abs() > footprint.radius[footprint.visible][:, None]).any(dim=-1)
    assert outside.any() and (~outside).any()
    assert not (outside & (alpha >= 1 / 255) & (power < 0.5 * 3.33**2)).any()


def test_depth_range_opacity_and_volume_decide_visibility() -> None:
    """Would catch a missing cull; the unscented one counts what survives the blur."""
    size, intrinsics = (64, 64), torch.tensor([60.0, 60, 32, 32], dtype=torch.float64)
    z = torch.tensor([0.05, 1.0, 600.0, 1.0, 1.0, 1.0], dtype=torch.float64)
    scale = torch.tensor([0.05, 0.05, 9.0, 0.05, 1e-4, 0.0], dtype=torch.float64)
    opacity = torch.tensor([0.9, 0.9, 0.9, 0.003, 0.01, 0.9], dtype=torch.float64)
    mean = torch.stack([torch.zeros(6), torch.zeros(6), z], dim=1)
    axes = torch.eye(3, dtype=torch.float64) * scale[:, None, None]
    seen = CameraGaussians(
        mean, axes, scale[:, None].expand(6, 3), opacity, intrinsics.expand(6, 4)
    )
    ewa = footprint_ewa(seen, size, RasterizeOptions(mode="ewa")).visible
    unscented = footprint_ut(seen, size, RasterizeOptions()).visible
    assert ewa.tolist() == [False, True, False, False, True, True]
    assert unscented.tolist() == [False, True, False, False, False, False]
