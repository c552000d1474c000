"""Tests of pages of many moments and of many Gaussians: small enough to send, ready soon."""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browser import Viewer, page_url
from nano_scenes import REPOSITORY, SMALL, Places, seconds_until

from src.gaussians import Gaussians
from src.io.scene import SplatScene, read_scene

pytest.importorskip("gaussforge", reason="the extra `viewer` is not installed")
from src.viewer.page import write_page

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("count", "each"), [(3, 23.8), (17, 22.4)])
def test_a_page_of_moments_is_small_and_ready_soon(
    browser: Any, places: Places, tmp_path: Path, count: int, each: float
) -> None:
    """A page that can't be sent, or moments that are missing or the same."""
    ball = read_scene(places.scene(REPOSITORY / "assets/demo/bouncing_ball.mp4", (0, 8, 16)))
    # Decoding takes long: the moments between are equal to one of three.
    moments = tuple(ball.moments[3 * number // count] for number in range(count))
    times = tuple(number / 24 for number in range(count))
    page = tmp_path / "moments.html"
    write_page(page, SplatScene(moments, times, ball.results))
    gaussians = sum(map(len, moments))
    assert page.stat().st_size <= 1.4e6 + each * gaussians
    viewer = Viewer(browser, page_url(page), **SMALL).loaded()
    assert viewer.network_requests() == [page_url(page)] and viewer.messages == []
    assert viewer.get("page.stage.moments.length") == count
    first = viewer.picture(320, 176)
    viewer.run(f"page.setTime({count - 1})")
    assert np.abs(viewer.picture(320, 176).astype(int) - first).max() > 50
    assert seconds_until("loaded", viewer, most=10) <= 10
    viewer.close()


def test_two_million_gaussians_open(browser: Any, tmp_path: Path) -> None:
    """A scene of the full size that runs into a limit of textures or texts."""
    count = 2_000_000
    generator = torch.Generator().manual_seed(5)
    packed = torch.rand(count, 14, generator=generator)
    packed[:, 2] += 2
    packed[:, 4:7] *= 0.002
    packed[:, 7:11] = torch.tensor([1.0, 0.0, 0.0, 0.0])
    scene = SplatScene((Gaussians.from_packed(packed),), (0.0,))
    page = tmp_path / "large.html"
    begin = time.monotonic()
    assert write_page(page, scene, "large") < 60e6
    assert time.monotonic() - begin < 60
    viewer = Viewer(browser, page_url(page), viewport={"width": 800, "height": 120})
    viewer.loaded()
    assert viewer.text("statistics").startswith("2,000,000 Gaussians")
    assert viewer.get("page.stage.spark.activeSplats") > count / 2
    # The window as it is: one more picture would take half a minute.
    viewer.run("panel.style.visibility = line.style.visibility = 'hidden';")
    shown = viewer.screenshot()
    assert json.dumps(viewer.messages) == "[]" and (shown < 200).any()
    viewer.close()
