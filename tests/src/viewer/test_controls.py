"""Tests of the page's controls in a browser: what a user presses must change what is seen."""

from pathlib import Path

import numpy as np
import pytest
from browser import Viewer, difference, pixels
from tiny_page import CLIP_COLORS, FRAMES, HEIGHT, WIDTH

# A change that a user sees: steps of 255, mean over the picture.
SEEN = 0.5


def place(viewer: Viewer) -> np.ndarray:
    return viewer.camera()[:3, 3]


def test_orbit_turns_zooms_and_shifts(viewer: Viewer) -> None:
    """A mouse that does nothing, or turns about another point than the scene's middle."""
    target, before = np.array([0.0, 0.0, 1.0]), viewer.picture()
    viewer.drag(60, 0)
    turned = place(viewer)
    assert np.abs(turned).max() > 0.1
    assert np.linalg.norm(turned - target) == pytest.approx(1, abs=1e-4)
    assert difference(before, viewer.picture()) > SEEN
    viewer.wheel(-300)
    near = np.linalg.norm(place(viewer) - target)
    assert near < 0.95
    before = viewer.picture()
    viewer.drag(40, 20, "right")
    assert np.linalg.norm(viewer.get("page.stage.orbit.target.toArray()") - target) > 0.02
    assert difference(before, viewer.picture()) > SEEN


@pytest.mark.parametrize("key", ["KeyA", "KeyD", "KeyQ", "KeyE", "KeyW", "KeyS", "ArrowLeft"])
def test_keys_move_the_orbit(viewer: Viewer, key: str) -> None:
    """Keys for the other modes alone."""
    before = viewer.picture()
    viewer.hold(key)
    moved = place(viewer)
    if key in ("KeyW", "KeyS"):
        assert np.sign(moved[2]) == (1 if key == "KeyW" else -1)
        assert np.abs(moved[:2]).max() < 1e-6
    else:
        axis, sign = {"A": (0, -1), "D": (0, 1), "Q": (1, 1), "E": (1, -1), "t": (0, -1)}[key[-1]]
        assert np.sign(moved[axis]) == sign and abs(moved[axis]) > 0.03
    assert difference(before, viewer.picture()) > SEEN


def test_flying_looks_with_the_mouse_and_moves_with_keys(viewer: Viewer) -> None:
    """A drag that still orbits, or keys along the world's axes."""
    before = viewer.picture()
    viewer.choose("controls", "fly").drag(50, 40)
    assert place(viewer) == pytest.approx([0, 0, 0], abs=1e-6)
    assert difference(before, viewer.picture()) > SEEN
    ahead = viewer.camera()[:3, 2]
    viewer.hold("KeyW")
    moved = place(viewer)
    assert np.linalg.norm(moved) > 0.05
    assert moved / np.linalg.norm(moved) == pytest.approx(ahead, abs=1e-4)
    viewer.wheel(50)
    assert (place(viewer) - moved) @ ahead == pytest.approx(-0.05, abs=1e-4)


def test_walking_keeps_the_height(viewer: Viewer) -> None:
    """A walk that digs into the ground when the view points down."""
    viewer.choose("controls", "walk").drag(0, 80)
    viewer.hold("KeyW").hold("KeyD")
    moved = place(viewer)
    assert abs(moved[1]) < 1e-6 and moved[2] > 0.03 and moved[0] > 0.03
    before = viewer.picture()
    viewer.hold("KeyE")
    right, down, ahead = place(viewer) - moved
    assert down < -0.05 and max(abs(right), abs(ahead)) < 1e-6
    assert difference(before, viewer.picture()) > SEEN
    assert "walk at" not in viewer.text("help") and "Q E" in viewer.text("help")


def test_reset_returns_to_the_input(viewer: Viewer) -> None:
    """A view that is lost for good."""
    before = viewer.picture()
    viewer.drag(80, 30)
    assert difference(before, viewer.picture()) > SEEN
    viewer.press("reset view")
    assert (viewer.camera() == np.eye(4)).all() and (viewer.picture() == before).all()
    viewer.drag(80, 30).tab.keyboard.press("KeyR")
    assert (viewer.picture() == before).all()


def test_the_up_axis_turns_the_view(viewer: Viewer) -> None:
    """A scene of another program that stays upside down."""
    before = viewer.picture()
    viewer.choose("up axis", "y")
    after = viewer.picture()
    assert viewer.camera()[:3, 1] == pytest.approx([0, -1, 0], abs=1e-4)
    assert difference(before, after) > SEEN
    assert difference(before[::-1, ::-1], after) < SEEN


def test_a_click_on_a_frustum_looks_through_its_camera(viewer: Viewer) -> None:
    """Frustums that can't be hidden or clicked, or show another camera."""
    viewer.step_back()
    shown = viewer.picture()
    viewer.check("show cameras", checked=False)
    assert difference(shown, viewer.picture()) > SEEN / 2
    viewer.check("show cameras")
    # The last camera of the first path: the middle of its picture, on the screen.
    x, y = viewer.get(
        """(() => {
        const frustum = page.stage.frustums.children.find((c) => c.userData.index === 8);
        const at = frustum.children[1].getWorldPosition(page.stage.camera.position.clone());
        const { x, y } = at.project(page.stage.camera);
        return [(x + 1) / 2 * innerWidth, (1 - y) / 2 * innerHeight];
        })()"""
    )
    before = viewer.screenshot()
    viewer.tab.mouse.click(x, y)
    assert viewer.get("page.stage.frame") == 8
    assert viewer.camera() == pytest.approx(np.array(viewer.get("page.scene.frames[8].c2w")))
    assert place(viewer)[0] == pytest.approx(0.4)
    assert difference(before, viewer.screenshot()) > SEEN


def test_a_camera_path_is_played(viewer: Viewer) -> None:
    """A path that jumps to its end, or plays the first one always."""
    viewer.choose("camera path", "path up").press("play camera path")
    viewer.tab.wait_for_function("page.stage.frame > 9 && page.stage.frame < 17 || !page.played")
    viewer.settled()
    assert viewer.get("page.stage.frame") == 2 * FRAMES - 1
    assert place(viewer) == pytest.approx([0, -0.4, 0])
    before = viewer.picture()
    viewer.choose("camera path", "path right").press("play camera path").settled()
    assert place(viewer) == pytest.approx([0.4, 0, 0])
    assert difference(before, viewer.picture()) > SEEN


def test_the_slider_of_time_shows_each_moment(viewer: Viewer) -> None:
    """A moment under another's number."""
    for number in (1, 2, 0):
        viewer.enter("moment", number)
        color = viewer.picture()[45, 80].astype(int)
        # The balls are red, green and blue.
        assert color.argmax() == number
        assert f"{(0, 4, 8)[number] / 24:.2f} s" in viewer.text("statistics")


def test_time_plays_at_its_speed_and_loops_or_ends(viewer: Viewer) -> None:
    """Play that ends after one round with `loop`, goes round without, or ignores the speed."""

    def moments(steps: int) -> list[int]:
        shown = f"Array.from({{length: {steps}}}, () => "
        shown += "(page.advance(performance.now(), 0.1), page.stage.time))"
        return viewer.get(shown)

    viewer.run("page.stage.screen.renderer.setAnimationLoop(null)")
    # Moments are 1/6 s apart.
    viewer.enter("speed", 0.9).check("play")
    assert moments(10) == [0, 1, 1, 2, 2, 0, 0, 1, 1, 2]
    viewer.check("play", checked=False)
    assert len(set(moments(5))) == 1
    viewer.enter("moment", 0).enter("speed", 0.5).check("play")
    assert moments(4) == [0, 0, 0, 1]
    viewer.check("loop", checked=False).enter("speed", 4)
    assert moments(8)[-4:] == [2, 2, 2, 2]
    assert not viewer.control("play").locator("input").is_checked()


def test_the_clip_is_compared_up_to_a_line(viewer: Viewer) -> None:
    """The splats alone, or the picture of another camera."""

    def clip_columns(number: int) -> list[int]:
        """The columns in the middle row that have a clip's colour; its picture is 547 wide."""
        row = viewer.screenshot()[215].astype(int)
        return np.flatnonzero(np.abs(row - CLIP_COLORS[number]).max(axis=1) < 12).tolist()

    assert clip_columns(0) == []
    viewer.enter("compare with clip", 0.4)
    found = clip_columns(0)
    assert 0 <= found[0] <= 1 and 200 <= found[-1] <= 222
    viewer.tab.mouse.move(0.4 * 547, 280)
    viewer.tab.mouse.down()
    viewer.tab.mouse.move(450, 280, steps=3)
    viewer.tab.mouse.up()
    assert 430 <= clip_columns(0)[-1] <= 452
    assert float(viewer.control("compare with clip").locator("input").input_value()) > 0.7
    # Without a picture here, the nearest camera with one.
    viewer.run("page.look(16)")
    assert clip_columns(0) == []
    viewer.run("page.look(7)")
    viewer.enter("compare with clip", 0.3)
    assert viewer.get("page.stage.frame") == 8
    # The clip's last frame is that of the last moment.
    assert viewer.get("page.stage.time") == 2
    viewer.drag(30, 0)
    assert clip_columns(0) == []


def test_crop_and_least_opacity_hide_splats(viewer: Viewer) -> None:
    """Sliders without effect, or a box that hides what is inside of it."""
    whole = viewer.picture()
    viewer.check("crop").enter("x from", 0)
    cropped = viewer.picture()
    assert (cropped[:, :60] == 255).all() and difference(cropped[:, 90:], whole[:, 90:]) < 3
    viewer.check("crop", checked=False)
    assert difference(whole, viewer.picture()) < 0.01
    viewer.enter("least opacity", 0.4)
    thinner = viewer.picture()
    assert difference(whole, thinner) > SEEN
    viewer.enter("least opacity", 0)
    assert difference(whole, viewer.picture()) < 0.01


def test_the_background_is_the_chosen_colour(viewer: Viewer) -> None:
    """A colour in linear light, or behind the splats alone."""
    viewer.control("background").locator("input[type=color]").evaluate(
        "(input) => { input.value = '#204060';"
        " input.dispatchEvent(new Event('input', { bubbles: true })); }"
    )
    assert viewer.picture()[0, 0].tolist() == [0x20, 0x40, 0x60]


@pytest.mark.parametrize(("width", "height"), [(320, 180), (400, 100), (90, 160), (2048, 1200)])
def test_a_screenshot_has_the_size_that_was_asked_for(
    viewer: Viewer, tmp_path: Path, width: int, height: int
) -> None:
    """A stretched picture, or the size of the window."""
    viewer.settled().enter("width", width).enter("height", height)
    with viewer.tab.expect_download() as download:
        viewer.press("save as PNG")
    assert download.value.suggested_filename == "view.png"
    download.value.save_as(tmp_path / "view.png")
    picture = pixels((tmp_path / "view.png").read_bytes())
    assert picture.shape == (height, width, 3)
    # The ball is round, in the middle, and as large as in the camera's picture.
    rows, columns = np.nonzero(picture.min(axis=2) < 200)
    diameter = 140 * 0.5 * min(width / WIDTH, height / HEIGHT)
    assert np.ptp(rows) == pytest.approx(np.ptp(columns), rel=0.15)
    assert np.ptp(columns) == pytest.approx(diameter, rel=0.3)
    assert columns.mean() == pytest.approx(width / 2, abs=0.1 * diameter)
    assert rows.mean() == pytest.approx(height / 2, abs=0.1 * diameter)


def test_statistics_and_help_are_shown(viewer: Viewer) -> None:
    """Numbers of another moment, or help for another mode."""
    assert viewer.text("title") == "tiny"
    shown = viewer.text("statistics")
    assert shown.startswith("400 Gaussians") and " MB" in shown and shown.endswith("ms a frame")
    help_lines = set()
    for mode in ("orbit", "fly", "walk"):
        viewer.choose("controls", mode)
        help_lines.add(viewer.text("help"))
    assert len(help_lines) == 3
