"""Tests of solid scenes: fewer and opaque Gaussians, true to the scene in floats and in 8 bits."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from src.export.solid.eight_bit import render_eight_bit
from src.export.solid.fitting import FreeGaussians
from src.export.solid.merging import merge, solid_angle
from src.export.solid.scene import SolidConfig, choose_cameras, solid, solid_scene
from src.gaussians import Gaussians
from src.geometry.cameras import Cameras
from src.io.cameras.file import CameraFile, write_camera_file
from src.io.scene import SplatScene
from src.rendering.options import RasterizeOptions
from src.rendering.rasterize import rasterize
from src.runtime import InputError


def faint_wall(count: int = 2000, opacity: float = 0.01) -> Gaussians:
    """A wall of many faint Gaussians whose colours change slowly, with a sphere before it."""
    generator = torch.Generator().manual_seed(5)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    means = torch.stack(
        [3 * uniform(count) - 1.5, 2.4 * uniform(count) - 1.2, 2 + 0.05 * uniform(count)], 1
    )
    ball = count // 3
    direction = torch.nn.functional.normalize(torch.randn(ball, 3, generator=generator), dim=1)
    means[:ball] = 0.3 * direction + torch.tensor([0.2, 0.1, 1.4])
    colors = 0.5 + 0.4 * torch.sin(2 * means + torch.tensor([0.0, 1.0, 2.0]))
    colors[:ball] = 0.3 + 0.3 * direction.abs()
    return Gaussians(
        means=means,
        opacities=opacity * (0.5 + uniform(count)),
        scales=0.25 * (0.5 + uniform(count, 3)),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1),
        colors=colors,
    )


def path(count: int = 16) -> Cameras:
    """A small circle of cameras that look ahead."""
    angle = torch.arange(count) * (2 * math.pi / count)
    c2w = torch.eye(4).repeat(count, 1, 1)
    c2w[:, 0, 3], c2w[:, 1, 3] = 0.1 * angle.cos(), 0.1 * angle.sin()
    return Cameras(c2w, torch.tensor([36.0, 36, 24, 16]).expand(count, 4), 48, 32)


def scene_folder(folder: Path, cameras: Cameras) -> Path:
    """A folder of results that holds cameras only."""
    write_camera_file(folder / "cameras.json", CameraFile(cameras, 24.0, None))
    return folder


CONFIG = SolidConfig(share=0.15, steps=40, views=10)


def test_a_solid_scene_is_smaller_opaque_and_true_in_both_viewers() -> None:
    """A fit that diverges or forgets the sides, or opacities that stay faint."""
    wall = faint_wall()
    found, report = solid(wall, path(), CONFIG)
    assert len(found) == report.count[1] <= 300
    assert report.opacity[0] < 0.03 and report.opacity[1] > 0.4
    assert float(found.opacities.min()) > 0.4
    assert float(found.colors.min()) >= 0 and float(found.colors.max()) <= 1
    assert report.float_psnr > 32
    assert report.eight_bit_psnr[1] > report.eight_bit_psnr[0] + 4
    # The report is about cameras that the fit has not seen, and about this scene.
    _, held_out = choose_cameras(path(), CONFIG)
    pictures = [rasterize(each, held_out).color.clamp(0, 1) for each in (wall, found)]
    error = (pictures[0] - pictures[1]).square().mean(dim=(1, 2, 3))
    assert math.isclose(float(-10 * error.log10().mean()), report.float_psnr, abs_tol=0.01)


@pytest.mark.parametrize(("finest", "dropped"), [(0.01, 40), (0.005, 17), (0, 0), (1, 40)])
def test_specks_are_dropped(finest: float, dropped: int) -> None:
    """Thin Gaussians that are dropped, specks that stay far away, or a scene that is lost."""
    wall = faint_wall(100)
    distance = wall.means.norm(dim=1, keepdim=True)
    wall.scales[:] = distance * torch.tensor([1e-4, 0.1, 0.1])
    wall.scales[:40] = distance[:40] * torch.linspace(0.008, 0.022, 40)[:, None]
    free = FreeGaussians(wall)
    free.drop_specks(finest)
    assert torch.equal(free.kept, torch.arange(100) >= dropped)
    assert len(free.gaussians(free.raw)) == 100 - dropped


def test_equal_seeds_give_equal_scenes() -> None:
    """Threads that add in the order in which they end."""
    short = replace(CONFIG, steps=4, views=4)
    scenes = [solid(faint_wall(1500), path(), replace(short, seed=seed))[0] for seed in (0, 0, 1)]
    assert torch.equal(scenes[0].packed(), scenes[1].packed())
    assert not torch.equal(scenes[0].packed(), scenes[2].packed())


def test_merged_gaussians_keep_mass_and_moments() -> None:
    """Weights that don't add up, or covariances without the distance between the means."""
    whole = faint_wall(400, opacity=0.001)
    merged = merge(whole, 1, opacity=0.0001)
    # Cells of the largest size: the sums over all of them are still those of the scene.
    assert 1 < len(merged) < 200

    def moments(gaussians: Gaussians) -> tuple[torch.Tensor, torch.Tensor]:
        from src.geometry.cameras import quaternion_to_matrix

        exact = gaussians.to(torch.float64)
        axes = quaternion_to_matrix(exact.quats) * exact.scales[:, None]
        mass = exact.opacities * solid_angle(axes @ axes.mT, exact.means)
        return mass.sum(), (mass[:, None] * exact.colors).sum(0)

    for true, found in zip(moments(whole), moments(merged), strict=True):
        assert torch.allclose(true, found, rtol=0.02)
    assert torch.allclose(whole.means.mean(0), merged.means.mean(0), atol=0.2)


def test_two_gaussians_of_a_cell_become_their_mixture() -> None:
    """A mean or a covariance of another mixture than that of equal halves."""
    one = Gaussians(
        means=torch.tensor([[0.001, 0.002, 2.0], [0.003, 0.002, 2.0]]),
        opacities=torch.full((2,), 0.01),
        scales=torch.full((2, 3), 0.02),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(2, 1),
        colors=torch.tensor([[0.2, 0.4, 0.6], [0.4, 0.4, 0.2]]),
    )
    merged = merge(one, 1, opacity=0.001)
    assert torch.allclose(merged.means, torch.tensor([[0.002, 0.002, 2.0]]), atol=1e-5)
    assert torch.allclose(merged.colors, torch.tensor([[0.3, 0.4, 0.4]]), atol=1e-4)
    true = torch.tensor([0.02, 0.02, math.hypot(0.02, 0.001)])
    assert torch.allclose(merged.scales[0].sort().values, true, rtol=1e-3)
    assert math.isclose(float(merged.opacities[0]), 0.02, rel_tol=0.02)


def test_a_merged_gaussian_that_is_more_opaque_is_smaller() -> None:
    """Opacities that are raised without care for what they cover."""
    wall = faint_wall(400, opacity=0.001)
    faint, opaque = (merge(wall, 100, opacity=opacity) for opacity in (0.0001, 0.5))
    area = [each.scales.sort(dim=1).values[:, 1:].prod(dim=1) for each in (faint, opaque)]
    ratio = area[0] * faint.opacities / (area[1] * opaque.opacities)
    assert torch.allclose(ratio, torch.ones_like(ratio), rtol=1e-3)


def test_eight_bits_swallow_faint_layers_alone() -> None:
    """A model of the viewer that is right or wrong about both."""
    camera = path(1)
    for opacity, swallowed in ((0.005, True), (0.5, False)):
        layers = Gaussians(
            means=torch.tensor([[0.0, 0.0, 2.0]]).repeat(100, 1),
            opacities=torch.full((100,), opacity),
            scales=torch.full((100, 3), 1.0),
            quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(100, 1),
            # 0.3 below white: less than half a level in each layer of opacity 0.005.
            colors=torch.full((100, 3), 0.7),
        )
        true = rasterize(layers, camera, RasterizeOptions(mode="ewa")).color[0, :, 16, 24]
        found = render_eight_bit(layers, camera)[0, :, 16, 24]
        assert bool((found == 1).all()) is swallowed
        assert bool(((found - true).abs() < 0.01).all()) is not swallowed


def test_cameras_of_the_figures_are_not_fitted_to() -> None:
    """Figures at cameras that the fit has seen."""
    cameras = path(40)
    fitted, out = choose_cameras(cameras, SolidConfig(views=20))
    assert (len(fitted), len(out)) == (20, 4)
    distance = (fitted.c2w[:, None, :3, 3] - out.c2w[None, :, :3, 3]).norm(dim=-1)
    assert float(distance.min()) > 1e-4
    on_path = (fitted.c2w[:, None] == cameras.c2w[None]).all(-1).all(-1).any(1)
    assert int(on_path.sum()) == 16


def test_each_moment_of_a_moving_scene_is_made_solid(tmp_path: Path) -> None:
    """A moving scene of which only the first moment changes."""
    first = faint_wall(600)
    second = replace(first, means=first.means + torch.tensor([0.0, 0.0, 1.0]))
    folder = scene_folder(tmp_path, path(4))
    moving = SplatScene((first, second), (0.0, 0.5), folder)
    found, reports = solid_scene(moving, SolidConfig(steps=1, views=2))
    assert found.times == (0.0, 0.5) and len(reports) == 2
    depths = [float(moment.means[:, 2].median()) for moment in found.moments]
    assert math.isclose(depths[1] - depths[0], 1, abs_tol=0.05)
    assert "Gaussians, median opacity 0.0" in str(reports[1])


def test_scenes_without_cameras_are_refused(tmp_path: Path) -> None:
    """A fit to pictures of nothing."""
    still = SplatScene((faint_wall(10),), (0.0,))
    with pytest.raises(InputError, match="a scene without cameras"):
        solid_scene(still, CONFIG)
    with pytest.raises(InputError, match="1 camera"):
        solid_scene(replace(still, results=scene_folder(tmp_path, path(1))), CONFIG)


@pytest.mark.parametrize("options", [{"share": 0.0}, {"share": 2.0}, {"views": 0}, {"steps": 0}])
def test_options_without_meaning_are_refused(options: dict) -> None:
    """An empty scene instead of an error."""
    with pytest.raises(InputError, match=next(iter(options))):
        SolidConfig(**options)
