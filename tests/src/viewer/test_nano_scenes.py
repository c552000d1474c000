"""Tests of pages of real scenes, made with the nano weights: faithful, small, quick, usable."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import DESKTOP, Viewer, page_url
from nano_scenes import REPOSITORY, SMALL, Places, seconds_until, write_clips

from src.io.cameras.file import read_camera_file, trajectory_from_file
from src.io.clip.clip import ClipPaths, open_clip
from src.io.scene import read_scene
from src.rendering.options import RasterizeOptions
from src.rendering.rasterize import rasterize

pytest.importorskip("gaussforge", reason="the extra `viewer` is not installed")

pytestmark = pytest.mark.slow

WHITE = (1.0, 1.0, 1.0)
# First, last and middle frames of four of the six paths.
CAMERAS = (0, 16, 40, 60, 101)


@pytest.fixture(scope="module")
def garden() -> Path:
    return REPOSITORY / "assets/demo/garden.jpg"


@pytest.fixture(scope="module")
def office(shared: Path) -> Path:
    photo = shared / "assets/photos/house_indoor.jpg"
    if not photo.is_file():
        pytest.skip(f"no photograph at {photo}")
    return photo


def psnr(one: np.ndarray, two: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(one - two).mean()))


def check_faithful(viewer: Viewer, scene: Path, least: float) -> None:
    """Compares the page with the project's float 3DGUT rendering at five cameras."""
    read = read_scene(scene)
    assert read.results is not None
    cameras = read_camera_file(read.results / "cameras.json").cameras
    options = RasterizeOptions(background=WHITE)
    found = {}
    for index in CAMERAS:
        viewer.run(f"page.look({index})")
        shown = viewer.picture(cameras.width, cameras.height) / 255
        with torch.no_grad():
            color = rasterize(read.moments[0], cameras[index : index + 1], options, "torch").color[
                0
            ]
        wanted = color.clamp(0, 1).permute(1, 2, 0).numpy()
        found[index] = psnr(shown, wanted), float((shown - wanted).mean())
    assert min(decibels for decibels, _ in found.values()) >= least, found
    # A wrong blur or cut-off makes the whole picture lighter or darker.
    assert max(abs(bias) for _, bias in found.values()) <= 0.004, found


@pytest.fixture(scope="module")
def garden_viewer(browser: Any, places: Places, garden: Path) -> Iterator[Viewer]:
    viewer = Viewer(browser, page_url(places.page(garden)), **SMALL).loaded()
    yield viewer
    viewer.close()


def test_the_garden_is_as_the_project_renders_it(
    garden_viewer: Viewer, places: Places, garden: Path
) -> None:
    """Faint Gaussians that are cut off or rounded away, wrong blur, another camera."""
    check_faithful(garden_viewer, places.scene(garden), least=44)


def test_the_office_is_as_the_project_renders_it(
    browser: Any, places: Places, office: Path
) -> None:
    """A page that is faithful to the procedural demo alone."""
    viewer = Viewer(browser, page_url(places.page(office)), **SMALL).loaded()
    check_faithful(viewer, places.scene(office), least=40)
    viewer.close()


def test_the_garden_page_is_one_small_file(garden_viewer: Viewer, places: Places, garden: Path):
    """A page that loads something, complains in the console, or is too large to send."""
    page = places.page(garden)
    assert garden_viewer.network_requests() == [page_url(page)]
    assert garden_viewer.messages == []
    gaussians = len(read_scene(places.scene(garden)).moments[0])
    # Code, then bytes for each Gaussian, with the pictures of the paths.
    assert page.stat().st_size <= 1.4e6 + 26.5 * gaussians
    assert garden_viewer.text("title") == "garden"
    # Six paths, three pictures each.
    assert len(garden_viewer.get("Object.keys(page.scene.pictures)")) == 18


def test_the_garden_is_ready_soon(garden_viewer: Viewer) -> None:
    """A page that draws at full size before it shows anything."""
    assert seconds_until("ready", garden_viewer, most=5) <= 5


def test_a_clip_is_generated_along_a_saved_path(
    browser: Any, places: Places, garden: Path, tmp_path: Path
) -> None:
    """A path that the generator refuses, or follows in other axes or units."""
    viewer = Viewer(browser, page_url(places.page(garden)), **DESKTOP).loaded()
    for right in (0, 30, 30):
        viewer.drag(right, -right // 3).press("add this view")
    with viewer.tab.expect_download() as download:
        viewer.press("save as JSON")
    path = tmp_path / "path.json"
    download.value.save_as(path)
    last = np.array(viewer.get("page.path.keys[2].c2w"))
    viewer.close()
    write_clips(garden, tmp_path / "clips", "--trajectory_file", str(path))
    cameras = open_clip(ClipPaths(tmp_path / "clips", "", "garden")).cameras()
    wanted = trajectory_from_file(path, 17, cameras.width, cameras.height)
    assert cameras.c2w.numpy() == pytest.approx(wanted.c2w.numpy(), abs=1e-4)
    # The first key frame is the camera of the picture, so the last one stands as it was shown.
    assert cameras.c2w[-1].numpy() == pytest.approx(last, abs=1e-4)
    assert (last[:3, 3] ** 2).sum() > 0.01
