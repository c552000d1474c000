"""One browser a module, and the page of a tiny scene as one file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import DESKTOP, Viewer, chromium, page_url
from tiny_page import write_tiny_page_scene

from src.io.scene import read_scene


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; skips where it is absent."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def tiny_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported page of a tiny scene of three moments."""
    pytest.importorskip("gaussforge", reason="the extra `viewer` is not installed")
    from src.viewer.page import write_page

    folder = tmp_path_factory.mktemp("tiny")
    page = folder / "page.html"
    write_page(page, read_scene(write_tiny_page_scene(folder)))
    return page


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory, browser: Any) -> Any:
    """Scenes of the nano weights; nothing is made where there is no browser."""
    from nano_scenes import Places

    return Places(tmp_path_factory.mktemp("scenes"))


@pytest.fixture
def viewer(browser: Any, tiny_page: Path) -> Iterator[Viewer]:
    """The tiny page on a desktop; it must end without a message in the console."""
    found = Viewer(browser, page_url(tiny_page), **DESKTOP).loaded()
    yield found
    assert found.messages == []
    found.close()
