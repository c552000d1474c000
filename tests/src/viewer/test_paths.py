"""Tests of key frames and paths: made, moved, saved for the generator, loaded or refused."""

import json
from pathlib import Path

import numpy as np
import pytest
from browser import Viewer, difference
from tiny_page import HEIGHT, WIDTH

from src.io.cameras.file import read_camera_file, trajectory_from_file


def saved(viewer: Viewer, folder: Path) -> Path:
    """The path that the page saves."""
    with viewer.tab.expect_download() as download:
        viewer.press("save as JSON")
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def loaded(viewer: Viewer, path: Path) -> str:
    """The page's message after it has loaded a path."""
    viewer.tab.evaluate("document.getElementById('note').textContent = ''")
    with viewer.tab.expect_file_chooser() as chooser:
        viewer.press("load JSON")
    chooser.value.set_files(path)
    viewer.tab.wait_for_function(
        f"document.getElementById('note').textContent.includes('{path.name}')"
    )
    return viewer.text("note")


def add_keys(viewer: Viewer) -> list[np.ndarray]:
    """Three key frames; returns their poses."""
    added = []
    for right in (0, 40, 40):
        viewer.drag(right, right // 2).press("add this view")
        added.append(viewer.camera())
    return added


def test_key_frames_are_added_moved_deleted_and_shown(viewer: Viewer) -> None:
    """Buttons that change another key frame than the chosen one."""
    keys = "page.path.keys.map((key) => key.c2w)"
    added = add_keys(viewer)
    assert np.array(viewer.get(keys)) == pytest.approx(np.array(added))
    assert viewer.tab.get_by_text("Key frames (3)").is_visible()
    viewer.enter("number", 1)
    assert viewer.camera() == pytest.approx(added[1])
    viewer.drag(0, -60).press("move to this view")
    moved = viewer.camera()
    expected = [added[0], moved, added[2]]
    assert np.abs(moved - added[1]).max() > 0.1
    assert np.array(viewer.get(keys)) == pytest.approx(np.array(expected))
    viewer.enter("number", 0).press("delete")
    assert np.array(viewer.get(keys)) == pytest.approx(np.array(expected[1:]))
    with_keys = viewer.step_back().picture()
    viewer.press("delete").press("delete").press("delete")
    assert viewer.get(keys) == []
    assert difference(with_keys, viewer.step_back().picture()) > 0.05


def test_a_saved_path_is_what_the_generator_takes(viewer: Viewer, tmp_path: Path) -> None:
    """JSON that the command refuses, in other pixels or axes, or key frames lost on the way."""
    viewer.press("save as JSON")
    assert "at least 2 key frames" in viewer.text("note")
    added = add_keys(viewer)
    path = saved(viewer, tmp_path)
    cameras = read_camera_file(path).cameras
    assert (cameras.width, cameras.height) == (WIDTH, HEIGHT)
    assert cameras.c2w[[0, 36, 72]].numpy() == pytest.approx(np.array(added), abs=1e-5)
    assert cameras.intrinsics[0].tolist() == [140, 140, WIDTH / 2, HEIGHT / 2]
    assert trajectory_from_file(path, 17, WIDTH, HEIGHT).c2w.shape == (17, 4, 4)
    # The frames between are what the page plays.
    viewer.press("play path")
    viewer.tab.wait_for_function("!page.played")
    assert viewer.camera() == pytest.approx(added[2], abs=1e-5)
    for _ in added:
        viewer.press("delete")
    assert loaded(viewer, path) == "path.json: 3 key frames"
    assert np.array(viewer.get("page.path.keys.map((key) => key.c2w)")) == pytest.approx(
        np.array(added), abs=1e-5
    )
    # A file with other frames has no key frames to be found: each frame is one.
    content = json.loads(path.read_text())
    content["frames"] = content["frames"][:5]
    path.write_text(json.dumps(content))
    assert loaded(viewer, path) == "path.json: 5 key frames"


IDENTITY = [[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]
LENS = [140.0, 140, 80, 45]


def camera_file(**changes: object) -> str:
    """The text of a camera file of the tiny scene."""
    frames = [{"c2w": IDENTITY, "intrinsics": LENS}] * 2
    return json.dumps({"width": 160, "height": 90, "fps": 24, "frames": frames} | changes)


def frame(c2w: object = IDENTITY, lens: object = LENS) -> list[dict]:
    return [{"c2w": c2w, "intrinsics": lens}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "no list `frames`"),
        (camera_file(frames=[]), "no list `frames`"),
        (camera_file(width=None), "no `width` and `height`"),
        (camera_file(width=100), "another scene: 100x90 pixels, and this scene has 160x90"),
        (camera_file(frames=frame(IDENTITY[:3])), "frame 0 has no c2w"),
        (camera_file(frames=frame([[2.0, 0, 0, 0], *IDENTITY[1:]])), "rigid"),
        (camera_file(frames=frame(lens=[1, 2])), "intrinsics"),
        (camera_file(frames=frame(lens=[-1, 2, 3, 4])), "focal length"),
        (
            camera_file(frames=frame([[1.0, 0, 0, 900], *IDENTITY[1:]])),
            "another scene: frame 0 is far away",
        ),
    ],
)
def test_a_path_that_does_not_fit_is_refused(
    viewer: Viewer, tmp_path: Path, content: str, reason: str
) -> None:
    """A path that is lost for a bad file, or a view far away from everything."""
    viewer.press("add this view")
    (tmp_path / "other.json").write_text(content)
    note = loaded(viewer, tmp_path / "other.json")
    assert note.startswith("other.json: ") and reason in note
    assert viewer.get("page.path.keys.length") == 1
