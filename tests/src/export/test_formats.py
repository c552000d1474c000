"""Tests of exports: what readers that share no code with the writers find in the files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from src.evaluation.metrics import psnr
from src.export.editing import EditConfig
from src.export.formats import FORMATS, export_scene
from src.gaussians import Gaussians
from src.io.scene import SplatScene
from src.rendering.options import RasterizeOptions
from src.rendering.rasterize import rasterize
from tests.src.export.comparing import (
    DECIBELS,
    EXACT_DECIBELS,
    READERS,
    differences,
    paired,
    turned_back,
)
from tests.src.export.scene_readers import read_4dgs, read_usda
from tests.src.export.scenes import faint, scene_of, spread, three_cameras

PACKAGES = {
    **dict.fromkeys(("compressed_ply", "splat", "spz", "sog"), "gaussforge"),
    **dict.fromkeys(("glb", "4dgs"), "fourdgs"),
    **dict.fromkeys(("usdc", "usda", "usdz"), "pxr"),
}


def installed(name: str) -> None:
    """Skips without the package that writes a format."""
    if name in PACKAGES:
        pytest.importorskip(PACKAGES[name])


# Largest errors in place, scale (a share), degrees, opacity, colour. PLY adds 1e-8 to scales.
EXACT = (1e-6, 1e-6, 1e-3, 1e-6, 1e-6)
LIMITS = {
    "ply": (1e-6, 1e-4, 1e-3, 1e-6, 1e-6),
    "ply_padded": (1e-6, 1e-4, 1e-3, 1e-6, 1e-6),
    "compressed_ply": (4e-3, 0.0045, 0.3, 0.002, 0.004),
    "splat": (1e-6, 1e-4, 1.8, 1 / 255, 0.004),
    "spz": (1.3e-4, 0.04, 0.3, 0.002, 0.004),
    "sog": (5e-4, 0.04, 1.0, 0.002, 0.004),
    "glb": EXACT,
    "usdc": EXACT,
    "usda": EXACT,
    "usdz": EXACT,
    "4dgs": (1e-3, 0.0051, 0.3, 0.002, 0.002),
}
FORMS = [name for name in FORMATS if name != "colmap"]


def found_in(name: str, gaussians: Gaussians, folder: Path) -> np.ndarray:
    """What a reader finds in an export, turned back to OpenCV's axes, in the order of the set."""
    path = folder / f"scene{FORMATS[name].suffix}"
    assert export_scene(scene_of(gaussians), path, name) == path
    found = turned_back(READERS[name](path), FORMATS[name].ups[0])
    return paired(found, gaussians.packed().double().numpy())


@pytest.mark.parametrize("name", FORMS)
def test_another_reader_finds_the_same_gaussians(name: str, tmp_path: Path) -> None:
    """Wrong axes, quaternion order, logarithms or a lost Gaussian."""
    installed(name)
    gaussians = spread()
    found = found_in(name, gaussians, tmp_path)
    errors = differences(found, gaussians.packed().double().numpy())
    for (kind, error), limit in zip(errors.items(), LIMITS[name], strict=True):
        assert error.max() <= limit + 1e-9, kind


@pytest.mark.parametrize("name", FORMS)
def test_a_faint_scene_looks_the_same(name: str, tmp_path: Path) -> None:
    """Opacities that are cut off or rounded to 0: nano's Gaussians are nearly transparent."""
    installed(name)
    gaussians, cameras = faint(), three_cameras()
    found = Gaussians.from_packed(torch.from_numpy(found_in(name, gaussians, tmp_path)).float())
    # The other mode drops a Gaussian at once where a point of it leaves the picture.
    options = RasterizeOptions(mode="ewa")
    true, seen = (rasterize(each, cameras, options).color for each in (gaussians, found))
    assert psnr(seen, true).min() >= DECIBELS.get(name, EXACT_DECIBELS)


@pytest.mark.parametrize("name", FORMS)
def test_the_documented_axis_points_up_and_nothing_is_mirrored(name: str, tmp_path: Path) -> None:
    """A scene upside down, on its side or mirrored, or ellipsoids that did not turn with it."""
    installed(name)
    # A tile right of the first camera, one above it and one ahead of it; all are long along y.
    places, dark = torch.tensor([[1.0, 0, 0], [0, -1, 0], [0, 0, 1]]), torch.zeros(3, 3)
    sizes = torch.tensor([[0.05, 0.02, 0.02]]).repeat(3, 1)
    half = 0.5**0.5
    quats = torch.tensor([[half, 0, 0, half]]).repeat(3, 1)
    tiles = Gaussians(places, torch.full((3,), 0.5), sizes, quats, dark)
    up = FORMATS[name].ups[0]
    path = tmp_path / f"scene{FORMATS[name].suffix}"
    export_scene(scene_of(tiles), path, name)
    rows = READERS[name](path)
    # Formats may change the order: the tiles are found by the axis that they lie on.
    upward = {"-y": [0, -1, 0], "y": [0, 1, 0], "z": [0, 0, 1]}[up]
    ahead = {"-y": [0, 0, 1], "y": [0, 0, -1], "z": [0, 1, 0]}[up]
    for direction in ([1, 0, 0], upward, ahead):
        assert np.abs(rows[:, :3] - direction).max(axis=1).min() < 0.01
    # Right-handed: right times up points backwards.
    assert np.allclose(np.cross([1, 0, 0], upward), -np.array(ahead))
    w, x, y, z = rows[:, 7:11].T
    columns = {
        0: [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
        1: [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
        2: [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
    }
    for row, longest in enumerate(rows[:, 4:7].argmax(axis=1).tolist()):
        long = np.array([part[row] for part in columns[longest]])
        assert abs(long @ upward) > 0.999


def named_up(name: str, path: Path) -> str | None:
    """The axis that a file says points up; None for formats that don't say it."""
    if name == "usda":
        return read_usda(path.read_text())[0]["upAxis"].strip('"').lower()
    return read_4dgs(path).labels["coordinate_system"][0] if name == "4dgs" else None


@pytest.mark.parametrize(
    ("name", "up"), [("usda", "y"), ("usda", "z"), ("4dgs", "z"), ("4dgs", "y"), ("spz", "y")]
)
def test_an_axis_that_was_asked_for_is_the_one_that_the_file_names(
    name: str, up: str, tmp_path: Path
) -> None:
    """A file that says `z` and holds a scene whose y axis points up."""
    installed(name)
    gaussians = spread()
    path = tmp_path / f"scene{FORMATS[name].suffix}"
    export_scene(scene_of(gaussians), path, name, EditConfig(up=up))
    true = gaussians.packed().double().numpy()
    assert named_up(name, path) in (up, None)
    found = paired(turned_back(READERS[name](path), up), true)
    errors = differences(found, true)
    assert errors["position"].max() < 1e-3 and errors["rotation"].max() < 0.3


@pytest.mark.parametrize("name", FORMS)
def test_writing_leaves_the_scene_alone(name: str, tmp_path: Path) -> None:
    """A second export of a scene that the first one turned or sorted."""
    installed(name)
    gaussians = spread()
    before = gaussians.packed().clone()
    scene = SplatScene((gaussians,), (0.0,))
    export_scene(scene, tmp_path / f"scene{FORMATS[name].suffix}", name)
    assert torch.equal(scene.moments[0].packed(), before) and scene.up == "-y"


def test_every_format_has_a_reader_here() -> None:
    """A new format that no test reads."""
    assert {*FORMS} == {*READERS} == {*LIMITS}
