"""Chromium through playwright, and a page of a scene in it, with its controls by their names."""

import base64
import io
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jaxtyping import UInt8
from PIL import Image

# Software WebGL, no network.
FLAGS = [
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--no-sandbox",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
NAMES = ("chromium", "chromium-browser", "google-chrome")
LONGEST_WAIT = 120_000
DESKTOP = {"viewport": {"width": 800, "height": 480}}
TELEPHONE = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
    "device_scale_factor": 1,
}


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser; skips where playwright or chromium is absent."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (`dev`)")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip("no chromium on the path: apt-get install chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


class Viewer:
    """A page in a tab of its own, with the requests and messages that it has made."""

    def __init__(self, browser: Any, url: str, script: str | None = None, **options: Any) -> None:
        """Opens the page; `script` runs before its own code."""
        self.context = browser.new_context(**{"offline": url.startswith("file:"), **options})
        self.context.set_default_timeout(LONGEST_WAIT)
        self.tab = self.context.new_page()
        self.requests: list[str] = []
        self.messages: list[str] = []
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.on("console", lambda line: self.messages.append(f"{line.type}: {line.text}"))
        self.tab.on("pageerror", lambda error: self.messages.append(str(error)))
        if script:
            self.tab.add_init_script(script)
        self.tab.goto(url)

    def loaded(self) -> "Viewer":
        """Waits until every moment is loaded and the first sharp picture is there."""
        self.tab.wait_for_function("document.body.dataset.loaded && document.body.dataset.ready")
        return self.settled()

    def settled(self) -> "Viewer":
        """Waits until the sharp picture of the present state is there."""
        self.tab.wait_for_function("page.stage.isSettled && !page.played")
        return self

    def get(self, expression: str) -> Any:
        """The value of a JavaScript expression."""
        return self.tab.evaluate(f"() => {expression}")

    def seconds_until(self, mark: str) -> float:
        """The seconds from the page's start until it was `ready` (a picture) or `loaded`."""
        return int(self.get(f"document.body.dataset.{mark}")) / 1000

    def run(self, statements: str) -> "Viewer":
        """Runs JavaScript."""
        self.tab.evaluate(f"() => {{ {statements} }}")
        return self

    def picture(self, width: int = 160, height: int = 90) -> UInt8[np.ndarray, "h w 3"]:
        """The settled view as the page's own screenshot."""
        self.settled()
        url = self.get(f"page.stage.picture({width}, {height})")
        return pixels(base64.b64decode(url.split(",")[1]))

    def screenshot(self) -> UInt8[np.ndarray, "h w 3"]:
        """The window as a user sees it."""
        self.settled()
        return pixels(self.tab.screenshot())

    def control(self, name: str) -> Any:
        """The row of the panel with this name; its folder is opened."""
        row = self.tab.locator(".controller", has=self.tab.get_by_text(name, exact=True)).first
        closed = row.locator("xpath=ancestor::div/*[@aria-expanded='false']")
        while closed.count():
            closed.first.click()
        return row

    def press(self, name: str) -> "Viewer":
        """Clicks a button of the panel."""
        self.control(name).locator("button").click()
        return self

    def enter(self, name: str, value: float) -> "Viewer":
        """Types a number into the panel."""
        field = self.control(name).locator("input")
        field.fill(str(value))
        field.press("Enter")
        return self

    def choose(self, name: str, value: str) -> "Viewer":
        """Chooses from a list of the panel."""
        self.control(name).locator("select").select_option(label=value)
        return self

    def check(self, name: str, checked: bool = True) -> "Viewer":
        """Sets a check box of the panel."""
        self.control(name).locator("input[type=checkbox]").set_checked(checked)
        return self

    def camera(self) -> np.ndarray:
        """The camera-to-world pose."""
        return np.array(self.get("page.stage.currentFrame().c2w"))

    def drag(self, right: int, down: int, button: str = "left") -> "Viewer":
        """Drags with the mouse from the middle of the free part of the window."""
        x, y = 190, 200
        self.tab.mouse.move(x, y)
        self.tab.mouse.down(button=button)
        self.tab.mouse.move(x + right, y + down, steps=4)
        self.tab.mouse.up(button=button)
        return self

    def wheel(self, down: int) -> "Viewer":
        """Turns the wheel, and waits until the page knows."""
        self.run("window.turned = new Promise((done) => addEventListener('wheel', done));")
        self.tab.mouse.wheel(0, down)
        self.tab.evaluate("window.turned.then(() => null)")
        return self

    def hold(self, key: str) -> "Viewer":
        """Holds a key until the page has advanced twice by a tenth of a second."""
        self.tab.keyboard.down(key)
        self.run("page.advance(performance.now(), 0.1); page.advance(performance.now(), 0.1);")
        self.tab.keyboard.up(key)
        return self

    def step_back(self) -> "Viewer":
        """Moves back and up, so that the cameras of the input are seen."""
        self.run("page.stage.camera.position.set(-0.5, -0.6, -1); page.stage.orbit.update();")
        return self.settled()

    def touch(self, *fingers: list[tuple[int, int]]) -> "Viewer":
        """Moves fingers on the screen, each through its list of points."""
        session = self.context.new_cdp_session(self.tab)
        for step, points in enumerate(zip(*fingers, strict=True)):
            kind = "touchMove" if step else "touchStart"
            places = [{"x": x, "y": y, "id": k} for k, (x, y) in enumerate(points)]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": places})
        session.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
        return self

    def text(self, name: str) -> str:
        """The text of an element, such as `note`."""
        return self.tab.locator(f"#{name}").inner_text()

    def close(self) -> None:
        """Closes the tab."""
        self.context.close()

    def network_requests(self) -> list[str]:
        """Requests for anything that is not in the page itself."""
        return [url for url in self.requests if not url.startswith(("blob:", "data:"))]


def pixels(content: bytes) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels of an encoded picture."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def difference(one: UInt8[np.ndarray, "h w 3"], two: UInt8[np.ndarray, "h w 3"]) -> float:
    """The mean absolute difference of two pictures, in steps of 255."""
    return float(np.abs(one.astype(int) - two.astype(int)).mean())


def page_url(path: Path) -> str:
    """The address of a page on disk."""
    return path.resolve().as_uri()
