"""The twin against brute force over pixels and Gaussians, and its invariants."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras, quaternion_to_matrix
from src.rendering import reference
from src.rendering.options import MODES, Mode, RasterizeOptions
from src.rendering.projection import footprint_ut, to_camera_space
from src.rendering.reference import rasterize_torch
from src.rendering.tiles import TILE

MakeScene = Callable[..., tuple[Gaussians, Cameras]]
BACKGROUND = (0.2, 0.5, 0.9)


def pixel_centers(cameras: Cameras) -> Tensor:
    y, x = torch.meshgrid(torch.arange(cameras.height), torch.arange(cameras.width), indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1).double() + 0.5


def composite(alpha: Tensor, z: Tensor, gaussians: Gaussians) -> tuple[Tensor, Tensor, Tensor]:
    """Colour, alpha, depth from `alpha` [gaussian, pixel], front to back, with both cut-offs."""
    light = torch.ones_like(alpha[0])
    done = torch.zeros_like(light, dtype=torch.bool)
    sums = torch.zeros(5, len(light), dtype=alpha.dtype)
    for index in z.argsort():
        after = light * (1 - alpha[index])
        seen = (alpha[index] >= 1 / 255) & (z[index] > 0.1)
        done |= seen & (after <= 1e-4)
        feature = torch.cat([gaussians.colors[index], z[index, None], torch.ones(1)]).double()
        counts = seen & ~done
        sums += feature[:, None] * torch.where(counts, alpha[index] * light, 0)
        light = torch.where(counts, after, light)
    background = torch.tensor(BACKGROUND, dtype=torch.float64)[:, None] * light
    return sums[:3] + background, sums[4:], sums[3:4] / sums[4:].clamp(min=1e-10)


def brute_force_ewa(gaussians: Gaussians, camera: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    w2c, (fx, fy, cx, cy) = camera.w2c[0], camera.intrinsics[0]
    x, y, z = mean = (gaussians.means.double() @ w2c[:3, :3].T + w2c[:3, 3]).T
    root = quaternion_to_matrix(gaussians.quats.double()) * gaussians.scales[:, None].double()
    covariance = w2c[:3, :3] @ (root @ root.mT) @ w2c[:3, :3].T
    width, height = camera.width, camera.height
    tx = z * (x / z).clamp(-cx / fx - 0.15 * width / fx, (width - cx) / fx + 0.15 * width / fx)
    ty = z * (y / z).clamp(-cy / fy - 0.15 * height / fy, (height - cy) / fy + 0.15 * height / fy)
    zero = torch.zeros_like(z)
    rows = [fx / z, zero, -fx * tx / z**2, zero, fy / z, -fy * ty / z**2]
    jacobian = torch.stack(rows, dim=-1).unflatten(-1, (2, 3))
    flat = jacobian @ covariance @ jacobian.mT + 0.3 * torch.eye(2, dtype=torch.float64)
    center = torch.stack([fx * mean[0] / z + cx, fy * mean[1] / z + cy], dim=-1)
    offset = pixel_centers(camera) - center[:, None]
    power = 0.5 * torch.einsum("gpi,gij,gpj->gp", offset, torch.linalg.inv(flat), offset)
    alpha = (gaussians.opacities.double()[:, None] * (-power).exp()).clamp(max=0.999)
    return composite(alpha, z, gaussians)


def brute_force_3dgut(gaussians: Gaussians, camera: Cameras) -> tuple[Tensor, Tensor, Tensor]:
    """The response from its definition; the footprints, which have own tests, choose the tiles."""
    w2c, intrinsics = camera.w2c[0], camera.intrinsics[0]
    exact = gaussians.to(torch.float64)
    seen = to_camera_space(exact, w2c, intrinsics)
    pixel = pixel_centers(camera)
    slope = (pixel - intrinsics[2:]) / intrinsics[:2]
    ray = torch.cat([slope, torch.ones(len(slope), 1)], dim=1) @ w2c[:3, :3]
    whiten = quaternion_to_matrix(exact.quats).mT / exact.scales[..., None]
    direction = torch.nn.functional.normalize(ray @ whiten.mT, dim=-1)
    toward = whiten @ (camera.c2w[0, :3, 3] - exact.means)[..., None]
    power = 0.5 * torch.linalg.cross(direction, toward.mT).square().sum(-1)
    footprint = footprint_ut(seen, (camera.width, camera.height), RasterizeOptions())
    corner = (pixel / TILE).floor() * TILE
    low, high = footprint.center - footprint.radius, footprint.center + footprint.radius
    listed = ((low[:, None] < corner + TILE) & (high[:, None] > corner)).all(dim=-1)
    listed &= footprint.visible[:, None]
    alpha = exact.opacities[:, None] * (-power).exp()
    return composite(torch.where(listed, alpha.clamp(max=0.999), 0), seen.mean[:, 2], gaussians)


@pytest.mark.parametrize("mode", MODES)
def test_pictures_are_those_of_brute_force(mode: Mode, make_scene: MakeScene) -> None:
    """Would catch any error in what is drawn where: projection, tiles, order, cut-offs."""
    gaussians, cameras = make_scene(250, sigma=3.0)
    rendered = rasterize_torch(
        gaussians, cameras, RasterizeOptions(mode=mode, background=BACKGROUND)
    )
    oracle = brute_force_ewa if mode == "ewa" else brute_force_3dgut
    for index in range(len(cameras)):
        color, alpha, depth = oracle(gaussians, cameras[index : index + 1])
        ours = (rendered.color[index], rendered.alpha[index], rendered.depth[index])
        expected = (color, alpha, depth)
        for name, one, other in zip(("color", "alpha", "depth"), ours, expected, strict=True):
            difference = (one.flatten(1) - other).abs()
            # float32 against float64; a pixel at a cut-off may fall on the other side.
            assert difference.median() < 1e-6, f"{name} {difference.median()}"
            assert (difference > 1e-4).float().mean() < 1e-3, f"{name} {difference.max()}"


@pytest.mark.parametrize("mode", MODES)
def test_gradients_are_those_of_finite_differences(mode: Mode, make_scene: MakeScene) -> None:
    """Would catch a missing or wrong path of the gradient, in float64."""
    gaussians, cameras = make_scene(12, width=21, height=18, sigma=2.5)
    packed = gaussians.to(torch.float64).packed().requires_grad_()
    options = RasterizeOptions(mode=mode)

    weight = torch.randn(2, 5, 18, 21, dtype=torch.float64)

    def loss(values: Tensor) -> Tensor:
        rendered = rasterize_torch(Gaussians.from_packed(values), cameras, options)
        # No gradient passes the depth of the means in 3DGUT: leave it out.
        depth = rendered.depth * rendered.alpha if mode == "ewa" else rendered.alpha
        return (torch.cat([rendered.color, rendered.alpha, depth], dim=1) * weight).sum()

    assert torch.autograd.gradcheck(loss, packed, eps=1e-6, atol=1e-5, rtol=1e-3)


@pytest.mark.parametrize(("mode", "slope"), [("ewa", 1.0), ("3dgut", 0.0)])
def test_depth_follows_its_gaussian_in_ewa_only(
    mode: Mode, slope: float, make_scene: MakeScene
) -> None:
    """Would catch a gradient through the depth of the means in 3DGUT, or none in EWA."""
    _, cameras = make_scene(1, frames=1)
    means = torch.tensor([[0.0, 0.0, 2.0]], requires_grad=True)
    gaussians = Gaussians(
        means, torch.full((1,), 0.9), torch.full((1, 3), 0.2), torch.eye(4)[:1], torch.ones(1, 3)
    )
    depth = rasterize_torch(gaussians, cameras, RasterizeOptions(mode=mode)).depth
    middle = depth[0, 0, cameras.height // 2, cameras.width // 2]
    middle.backward()
    assert middle.item() == pytest.approx(2.0, rel=1e-5)
    torch.testing.assert_close(means.grad, torch.tensor([[0.0, 0.0, slope]]), rtol=0, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_frames_don_t_know_each_other(
    mode: Mode, make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Would catch lists or pictures mixed up between frames, in one pass and in several."""
    gaussians, cameras = make_scene(120, frames=5)
    options = RasterizeOptions(mode=mode)
    single = [rasterize_torch(gaussians, cameras[i : i + 1], options) for i in range(5)]
    for splats in (2**16, 240, 1):
        monkeypatch.setattr(reference, "SPLATS_PER_PASS", splats)
        together = rasterize_torch(gaussians, cameras, options)
        for name in ("color", "alpha", "depth"):
            expected = torch.cat([getattr(part, name) for part in single])
            torch.testing.assert_close(getattr(together, name), expected)


def test_passes_beside_each_other_keep_the_callers_mode(
    make_scene: MakeScene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pictures that a caller may not go on computing with, or gradients that are lost."""
    gaussians, cameras = make_scene(60, frames=3)
    monkeypatch.setattr(reference, "SPLATS_PER_PASS", 1)
    # Two cores wherever this runs; nothing else hears of it.
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)
    plain = rasterize_torch(gaussians, cameras, RasterizeOptions()).color
    assert not plain.requires_grad and not plain.is_inference()
    with torch.inference_mode():
        assert torch.equal(rasterize_torch(gaussians, cameras, RasterizeOptions()).color, plain)
    packed = gaussians.packed().requires_grad_()
    learning = rasterize_torch(Gaussians.from_packed(packed), cameras, RasterizeOptions()).color
    assert learning.requires_grad
    torch.testing.assert_close(learning.detach(), plain)


@pytest.mark.parametrize("mode", MODES)
def test_order_of_the_gaussians_is_irrelevant(mode: Mode, make_scene: MakeScene) -> None:
    """Would catch blending in storage order; also runs a size that tiles divide."""
    gaussians, cameras = make_scene(150, width=64, height=32)
    options = RasterizeOptions(mode=mode)
    one = rasterize_torch(gaussians, cameras, options)
    order = torch.randperm(150)
    other = rasterize_torch(gaussians.map(lambda part: part[order]), cameras, options)
    torch.testing.assert_close(one.color, other.color)
    torch.testing.assert_close(one.depth, other.depth)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", [0, 1, 40])
def test_nothing_visible_leaves_the_background_and_finite_gradients(
    mode: Mode, count: int, make_scene: MakeScene
) -> None:
    """Would catch NaN from Gaussians in or behind the camera's plane, and a failure without any."""
    gaussians, cameras = make_scene(count)
    behind = gaussians.means * torch.tensor([1.0, 1.0, -1.0])
    behind[: count // 2, 2] = 0
    leaves = replace(gaussians, means=behind - torch.tensor([0, 0, 9.0]) * (behind[:, 2:] > 0))
    leaves = leaves.map(lambda tensor: tensor.requires_grad_())
    rendered = rasterize_torch(leaves, cameras, RasterizeOptions(mode=mode, background=BACKGROUND))
    expected = torch.tensor(BACKGROUND)[:, None, None].expand_as(rendered.color)
    assert torch.equal(rendered.color, expected)
    assert (rendered.alpha == 0).all() and (rendered.depth == 0).all()
    (rendered.color.sum() + rendered.depth.sum()).backward()
    for leaf in (leaves.means, leaves.opacities, leaves.scales, leaves.quats, leaves.colors):
        assert leaf.grad is not None and torch.isfinite(leaf.grad).all()


@pytest.mark.parametrize("mode", MODES)
def test_gradients_of_a_hard_scene_are_finite(mode: Mode, make_scene: MakeScene) -> None:
    """Would catch a division by zero: flat, needle-like, huge and invisible Gaussians together."""
    gaussians, cameras = make_scene(300, width=40, height=30)
    scales = gaussians.scales * 10 ** (4 * torch.rand(300, 3) - 3)
    opacities = torch.cat([torch.zeros(20), torch.ones(20), gaussians.opacities[40:]])
    leaves = replace(gaussians, scales=scales, opacities=opacities)
    leaves = leaves.map(lambda tensor: tensor.requires_grad_())
    rendered = rasterize_torch(leaves, cameras, RasterizeOptions(mode=mode))
    (rendered.color.square().sum() + rendered.depth.sum()).backward()
    for leaf in (leaves.means, leaves.opacities, leaves.scales, leaves.quats, leaves.colors):
        assert leaf.grad is not None and torch.isfinite(leaf.grad).all()
        assert leaf.grad.abs().sum() > 0
