"""Tests of the page in other surroundings: live, as a file, on a telephone, in poorer browsers."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import DESKTOP, TELEPHONE, Viewer, difference, page_url
from tiny_page import FRAMES, write_tiny_page_scene

from src.io.scene import read_scene

pytest.importorskip("gaussforge", reason="the extra `viewer` is not installed")
from src.viewer.page import served_files, write_page
from src.viewer.serve import make_server

FEW = """
const extension = WebGL2RenderingContext.prototype.getExtension;
WebGL2RenderingContext.prototype.getExtension = function (name) {
  return name.startsWith("EXT_color_buffer_") ? null : extension.call(this, name);
};
"""
NO_WEBGL = "HTMLCanvasElement.prototype.getContext = () => null;"
OLD = "delete window.DecompressionStream;"


def test_the_file_needs_no_network(browser: Any, tiny_page: Path) -> None:
    """A page that loads a font, a worker or a picture from elsewhere."""
    viewer = Viewer(browser, page_url(tiny_page), **DESKTOP).loaded()
    viewer.enter("moment", 2).enter("compare with clip", 0.5).settled()
    assert viewer.network_requests() == [page_url(tiny_page)]
    assert viewer.messages == []
    # Three pictures for each of two paths.
    assert len(viewer.get("Object.keys(page.scene.pictures)")) == 6
    viewer.close()


def test_the_live_page_has_every_picture(browser: Any, tmp_path: Path) -> None:
    """A server that answers otherwise than the file, or with too few pictures."""
    files = served_files(read_scene(write_tiny_page_scene(tmp_path)))
    with make_server(files, "127.0.0.1", 8760) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        place = f"http://127.0.0.1:{server.server_port}/"
        viewer = Viewer(browser, place, **DESKTOP).loaded()
        assert len(viewer.get("Object.keys(page.scene.pictures)")) == 2 * FRAMES
        viewer.run("page.look(5)").enter("compare with clip", 0.5)
        assert viewer.get("page.stage.frame") == 5
        viewer.tab.wait_for_function("document.getElementById('clip').complete")
        assert viewer.get("document.getElementById('clip').naturalWidth") == 160
        viewer.settled()
        requests = viewer.network_requests()
        assert requests[0] == place and all(url.startswith(place) for url in requests)
        assert sum(url.endswith(".spz") for url in requests) == 3
        assert viewer.messages == []
        viewer.close()
        server.shutdown()


@pytest.fixture
def telephone(browser: Any, tiny_page: Path) -> Iterator[Viewer]:
    viewer = Viewer(browser, page_url(tiny_page), **TELEPHONE).loaded()
    yield viewer
    assert viewer.messages == []
    viewer.close()


def test_a_telephone_shows_the_scene_beside_the_controls(telephone: Viewer) -> None:
    """A panel that covers the scene, or is cut off at the screen's edge."""
    box = "(({ left, top, right, bottom }) => [left, top, right, bottom])"
    panel = f"{box}(document.getElementById('panel').getBoundingClientRect())"
    line = f"{box}(document.getElementById('line').getBoundingClientRect())"

    def check() -> float:
        left, top, right, bottom = telephone.get(panel)
        shown = telephone.get("page.stage.pictureBox()")
        assert [left, right, bottom] == [0, 390, 844]
        assert telephone.get(line)[3] <= shown["top"]
        assert shown["top"] + shown["height"] <= top + 0.5
        assert telephone.get("document.documentElement.scrollWidth") == 390
        return bottom - top

    assert check() < 50
    telephone.tab.get_by_text("Controls", exact=True).tap()
    telephone.tab.wait_for_function("document.getElementById('panel').offsetHeight > 300")
    telephone.settled()
    assert 300 < check() <= 0.45 * 844 + 1
    moved = telephone.screenshot()
    telephone.press("reset view").enter("moment", 1)
    assert difference(moved, telephone.screenshot()) > 0.5
    assert "finger" in telephone.text("help")


@pytest.mark.parametrize("mode", ["orbit", "fly", "walk"])
def test_fingers_move_the_camera(telephone: Viewer, mode: str) -> None:
    """Controls for a mouse alone."""
    telephone.choose("controls", mode)
    telephone.tab.get_by_text("Controls", exact=True).tap()
    telephone.settled()
    before, image = telephone.camera(), telephone.picture()
    steps = range(0, 80, 10)
    telephone.touch([(150 + step, 400) for step in steps])
    turned = telephone.camera()
    assert np.abs(turned[:3, :3] - before[:3, :3]).max() > 0.1
    assert (np.abs(turned[:3, 3] - before[:3, 3]).max() > 0.1) == (mode == "orbit")
    assert difference(image, telephone.picture()) > 0.5
    image = telephone.picture()
    # Two fingers that part come nearer; two that move down shift the view.
    telephone.touch([(180 - step, 400) for step in steps], [(210 + step, 400) for step in steps])
    nearer = telephone.camera()
    assert (nearer[:3, 3] - turned[:3, 3]) @ turned[:3, 2] > 0.05
    assert difference(image, telephone.picture()) > 0.5
    telephone.touch([(150, 400 + step) for step in steps], [(250, 400 + step) for step in steps])
    assert np.abs(telephone.camera()[:3, 3] - nearer[:3, 3]).max() > 0.02


@pytest.mark.parametrize(
    ("script", "message"),
    [(NO_WEBGL, "no WebGL 2"), (OLD, "too old")],
    ids=["no WebGL", "old browser"],
)
def test_a_browser_that_cannot_show_the_scene_says_so(
    browser: Any, tiny_page: Path, script: str, message: str
) -> None:
    """An empty page."""
    viewer = Viewer(browser, page_url(tiny_page), script, **DESKTOP)
    viewer.tab.wait_for_function("document.getElementById('note').textContent")
    assert message in viewer.text("note")
    viewer.close()


def test_eight_bits_are_told(browser: Any, tiny_page: Path) -> None:
    """A picture that is poorer without a word, or none."""
    viewer = Viewer(browser, page_url(tiny_page), FEW, **DESKTOP).loaded()
    assert "no half-float targets" in viewer.text("note")
    assert (viewer.picture()[45, 80] < 250).any()
    viewer.close()


def test_a_scene_without_cameras_is_shown(browser: Any, tiny_page: Path, tmp_path: Path) -> None:
    """A page that expects the results of sample.py."""
    ply = next(tiny_page.parent.rglob("gaussians_0.ply")).read_bytes()
    (tmp_path / "alone.ply").write_bytes(ply)
    write_page(tmp_path / "page.html", read_scene(tmp_path / "alone.ply"), "alone")
    viewer = Viewer(browser, page_url(tmp_path / "page.html"), **DESKTOP).loaded()
    assert (viewer.picture()[45, 80] < 250).any() and viewer.messages == []
    assert viewer.tab.get_by_text("camera path").count() == 0
    viewer.drag(50, 0).press("add this view").press("reset view").press("play path").settled()
    assert viewer.messages == []
    viewer.close()
