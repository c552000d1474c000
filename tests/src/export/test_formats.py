"""Tests of exports: what other programs' readers find in the files."""

import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from src.export.editing import EditConfig
from src.export.formats import FORMATS, export_scene
from src.gaussians import Gaussians
from src.io.ply.ply import read_ply
from src.io.ply.scene import SplatScene, read_scene
from src.runtime import InputError
from tests.src.export import readers


def needs(package: str) -> pytest.MarkDecorator:
    """Skips without a package of an extra."""
    missing = importlib.util.find_spec(package) is None
    return pytest.mark.skipif(missing, reason=f"{package} is not installed")


@pytest.fixture
def gaussians() -> Gaussians:
    """Gaussians on a jittered grid, so that each is known by its place."""
    generator = torch.Generator().manual_seed(3)

    def uniform(*shape: int) -> torch.Tensor:
        return torch.rand(*shape, generator=generator)

    steps = torch.stack(torch.meshgrid(*[torch.arange(8.0)] * 3, indexing="ij"), dim=-1)
    count = 512
    return Gaussians(
        means=(steps.reshape(-1, 3) - 3.5) / 4 + 0.05 * uniform(count, 3),
        opacities=0.01 + 0.98 * uniform(count),
        scales=torch.exp(-7 + 5 * uniform(count, 3)),
        quats=torch.nn.functional.normalize(torch.randn(count, 4, generator=generator), dim=1),
        colors=uniform(count, 3),
    )


# Format: reader, then the largest errors in place, opacity, scale (a share), degrees, colour. The
# least error of scales is that of the PLY on the way, which adds 1e-8.
READERS: dict[str, tuple[Callable[[Path], np.ndarray], float, float, float, float, float]] = {
    "ply": (lambda path: read_ply(path).packed().double().numpy(), 1e-6, 1e-6, 1e-4, 0.1, 1e-6),
    "compressed_ply": (readers.read_compressed_ply, 4e-3, 0.002, 0.004, 0.3, 0.004),
    "splat": (readers.read_splat, 1e-6, 1 / 255, 1e-4, 1.8, 0.004),
    "spz": (readers.read_spz, 1.3e-4, 0.002, 0.04, 0.3, 0.004),
    "sog": (readers.read_sog, 5e-4, 0.002, 0.04, 1.0, 0.004),
    "glb": (readers.read_glb, 1e-6, 1e-6, 1e-4, 0.1, 1e-6),
}


@needs("gaussforge")
@needs("fourdgs")
@pytest.mark.parametrize("name", READERS)
def test_another_reader_finds_the_same_gaussians(
    name: str, gaussians: Gaussians, tmp_path: Path
) -> None:
    """Wrong axes, quaternion order, logarithms or a lost Gaussian."""
    read, place, alpha, scale, degrees, color = READERS[name]
    path = tmp_path / f"scene{FORMATS[name].suffix}"
    assert export_scene(SplatScene((gaussians,), (0.0,)), path, name) == path
    found, true = read(path), gaussians.packed().double().numpy()
    if FORMATS[name].up == "y":
        # Turned back by 180 degrees about x; (w, x, y, z) times the quaternion of x.
        found[:, 1:3] *= -1
        w, x, y, z = found[:, 7:11].T.copy()
        found[:, 7:11] = np.stack([-x, w, -z, y], axis=1)
    assert len(found) == len(true)
    distance = np.abs(found[:, None, :3] - true[None, :, :3]).max(-1)
    order = distance.argmin(1)
    assert len({*order.tolist()}) == len(true)
    true = true[order]
    assert distance.min(1).max() <= place
    assert np.abs(found[:, 3] - true[:, 3]).max() <= alpha + 1e-9
    assert np.abs(found[:, 4:7] / true[:, 4:7] - 1).max() <= scale
    cosine = np.abs((found[:, 7:11] * true[:, 7:11]).sum(1)).clip(0, 1)
    assert np.degrees(2 * np.arccos(cosine)).max() <= degrees
    assert np.abs(found[:, 11:] - true[:, 11:]).max() <= color + 1e-9


@needs("pxr")
@pytest.mark.parametrize("suffix", [".usdc", ".usda", ".usdz"])
def test_usd_holds_every_moment_with_z_up(
    suffix: str, gaussians: Gaussians, tmp_path: Path
) -> None:
    """A moment that is lost or shown at the wrong time; a scene that lies on its side."""
    usd, geometry, volume = (
        importlib.import_module(f"pxr.{name}") for name in ("Usd", "UsdGeom", "UsdVol")
    )
    later = gaussians.map(lambda tensor: tensor)
    later = Gaussians.from_packed(later.packed() + torch.eye(14)[0])
    path = tmp_path / f"scene{suffix}"
    export_scene(SplatScene((gaussians, later), (0.0, 0.5)), path)
    stage = usd.Stage.Open(str(path))
    assert geometry.GetStageUpAxis(stage) == "Z"
    splats = volume.ParticleField3DGaussianSplat(stage.GetPrimAtPath("/World/Gaussians"))
    places = splats.GetPositionsAttr()
    assert places.GetTimeSamples() == [0.0, 12.0]
    for code, moment in ((0.0, gaussians), (12.0, later)):
        found, (x, y, z) = np.array(places.Get(code)), moment.means.numpy().T
        assert np.allclose(found, np.stack([x, z, -y], axis=1), atol=1e-6)
    scales = np.array(splats.GetScalesAttr().Get(0.0))
    assert np.allclose(scales, gaussians.scales.numpy(), rtol=1e-6)


@needs("fourdgs")
def test_4dgs_shows_each_moment_in_its_own_time(gaussians: Gaussians, tmp_path: Path) -> None:
    """Moments that are shown together, or move with an invented velocity."""
    fourdgs = importlib.import_module("fourdgs")
    later = Gaussians.from_packed(gaussians.packed() + torch.eye(14)[0])
    export_scene(SplatScene((gaussians, later), (2.0, 2.5)), tmp_path / "scene.4dgs")
    found = fourdgs.read(str(tmp_path / "scene.4dgs")).gaussians
    for seconds, moment in ((0.25, gaussians), (0.75, later)):
        shown = found.state_at(seconds)["indices"]
        assert len(shown) == len(gaussians)
        center = np.asarray(found.positions)[shown].mean(0)
        true = moment.means.mean(0).numpy() * [1, -1, -1]
        assert np.allclose(center, true, atol=1e-3)


@needs("gaussforge")
def test_formats_without_time_become_a_folder(gaussians: Gaussians, tmp_path: Path) -> None:
    """A moving scene of which only the first moment is written."""
    later = Gaussians.from_packed(gaussians.packed() + torch.eye(14)[0])
    folder = export_scene(SplatScene((gaussians, later), (0.0, 0.5)), tmp_path / "scene.splat")
    assert folder == tmp_path / "scene"
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["frame_0000.splat", "frame_0001.splat", "times.json"]


def test_a_folder_of_moments_is_read_as_it_was_written(
    gaussians: Gaussians, tmp_path: Path
) -> None:
    """Moments in the order of letters (10 before 2), or at other times."""
    moments = tuple(
        Gaussians.from_packed(gaussians.packed() + number * torch.eye(14)[0])
        for number in range(11)
    )
    times = tuple(0.25 * number for number in range(11))
    folder = export_scene(SplatScene(moments, times), tmp_path / "scene.ply")
    (folder / "frame_0002.ply").rename(folder / "frame_2.ply")
    found = read_scene(folder)
    assert found.times == times
    for moment, true in zip(found.moments, moments, strict=True):
        assert torch.allclose(moment.means, true.means, atol=1e-6)


@pytest.mark.parametrize("name", ["stl", ""])
def test_unknown_formats_are_refused_with_the_known_ones(
    name: str, gaussians: Gaussians, tmp_path: Path
) -> None:
    """A file of a format that nobody asked for."""
    scene = SplatScene((gaussians,), (0.0,))
    with pytest.raises(InputError, match=r"one of ply, ply_padded, compressed_ply, splat"):
        export_scene(scene, tmp_path / "scene.stl", name or None)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("edit", [EditConfig(up="z"), EditConfig(median_depth=2.0)])
def test_colmap_keeps_the_axes_and_the_unit_of_its_cameras(
    edit: EditConfig, gaussians: Gaussians, tmp_path: Path
) -> None:
    """Points that lie elsewhere than the cameras see them."""
    scene = SplatScene((gaussians,), (0.0,))
    with pytest.raises(InputError, match="another up axis or unit"):
        export_scene(scene, tmp_path / "model", "colmap", edit)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan")])
def test_moments_need_a_frame_rate_above_zero(fps: float, tmp_path: Path) -> None:
    """A division by zero, or times that decrease."""
    with pytest.raises(InputError, match="frames a second above 0"):
        read_scene(tmp_path, fps)
