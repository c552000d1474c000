"""Tests of exports of moving scenes: the order of moments, and when each is shown."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from src.export.editing import EditConfig
from src.export.formats import export_scene
from src.gaussians import Gaussians
from src.io.ply import write_ply
from src.io.scene import CLIP_FPS, SplatScene, read_scene
from src.runtime import InputError
from tests.src.export.comparing import READERS, differences, turned_back
from tests.src.export.scene_readers import read_4dgs, read_usda
from tests.src.export.scenes import scene_of, spread

TIMES = (2.0, 2.5, 2.75)


@pytest.fixture
def scene() -> SplatScene:
    """Three moments at unequal steps; the Gaussians move by 10 along x."""
    return SplatScene(tuple(spread(10.0 * number) for number in range(3)), TIMES)


def same(found: np.ndarray, true: Gaussians, place: float) -> bool:
    """Whether rows of a file with z up are the Gaussians, in their order."""
    errors = differences(turned_back(found, "z"), true.packed().double().numpy())
    return bool(errors["position"].max() < place and errors["rotation"].max() < 0.3)


@pytest.mark.parametrize("suffix", [".usdc", ".usda", ".usdz"])
def test_usd_holds_each_moment_until_the_next(
    suffix: str, scene: SplatScene, tmp_path: Path
) -> None:
    """A moment that is lost, shown at the wrong time, or blended into the next one."""
    module = pytest.importorskip("pxr.Usd")
    path = tmp_path / f"scene{suffix}"
    export_scene(scene, path)
    # The layer lives as long as its stage.
    opened = module.Stage.Open(str(path))
    text = path.read_text() if suffix == ".usda" else opened.GetRootLayer().ExportToString()
    stage, moments = read_usda(text)
    assert stage["upAxis"] == '"Z"' and stage["metersPerUnit"] == "1"
    assert [stage[f"{key}TimeCode"] for key in ("start", "end")] == ["48", "66"]
    assert stage["timeCodesPerSecond"] == "24"
    # Readers interpolate between samples, so that there are two of each moment but the last.
    gap = 2.0**-10
    assert [*moments] == [48.0, 60.0 - gap, 60.0, 66.0 - gap, 66.0]
    for code, number in zip(moments, (0, 0, 1, 1, 2), strict=True):
        assert same(moments[code], scene.moments[number], 1e-5)


def test_a_binary_usd_stores_a_held_moment_once(scene: SplatScene, tmp_path: Path) -> None:
    """A file twice as large as its arrays."""
    pytest.importorskip("pxr")
    export_scene(scene, tmp_path / "scene.usdc")
    assert (tmp_path / "scene.usdc").stat().st_size < 1.3 * 3 * 512 * 56


def test_4dgs_shows_each_moment_until_the_next(scene: SplatScene, tmp_path: Path) -> None:
    """Moments that are shown together, fade, or move with an invented velocity."""
    pytest.importorskip("fourdgs")
    export_scene(scene, tmp_path / "scene.4dgs", edit=EditConfig(up="z"))
    found = read_4dgs(tmp_path / "scene.4dgs")
    assert found.labels == {"coordinate_system": "z-up-right-handed"}
    # The last moment is shown as long as the mean of the others.
    assert found.duration == 1.125 and len(found.rows) == 3 * 512
    windows = ((0.0, 0.5), (0.5, 0.75), (0.75, 1.125))
    for number, window in enumerate(windows):
        rows = found.rows[(found.windows == window).all(axis=1)]
        assert len(rows) == 512
        assert abs(rows[:, 0].mean() - 10 * number) < 0.2


def test_formats_without_time_become_a_folder_in_order(scene: SplatScene, tmp_path: Path) -> None:
    """A moving scene of which only the first moment is written, or in another order."""
    pytest.importorskip("gaussforge")
    folder = export_scene(scene, tmp_path / "scene.splat")
    assert folder == tmp_path / "scene"
    names = sorted(path.name for path in folder.iterdir())
    assert names == [*(f"frame_000{number}.splat" for number in range(3)), "times.json"]
    assert json.loads((folder / "times.json").read_text()) == {"times": [2.0, 2.5, 2.75]}
    for number in range(3):
        rows = READERS["splat"](folder / names[number])
        assert abs(rows[:, 0].mean() - 10 * number) < 0.2


def test_a_folder_of_moments_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Moments in the order of letters (10 before 2), or at other times."""
    scene = scene_of(*(spread(float(number)) for number in range(11)))
    folder = export_scene(scene, tmp_path / "scene.ply")
    (folder / "frame_0002.ply").rename(folder / "frame_2.ply")
    found = read_scene(folder)
    assert found.times == scene.times
    for moment, true in zip(found.moments, scene.moments, strict=True):
        assert torch.allclose(moment.means, true.means, atol=1e-6)


def test_results_of_a_video_are_read_in_the_order_of_their_frames(tmp_path: Path) -> None:
    """Frame 16 before frame 8, or times of another frame rate than the clips'."""
    for frame in (0, 8, 16):
        write_ply(tmp_path / f"{frame}/gaussians_orig/gaussians_0.ply", spread(float(frame)))
    found = read_scene(tmp_path)
    assert found.times == (0.0, 8 / CLIP_FPS, 16 / CLIP_FPS)
    for moment, frame in zip(found.moments, (0, 8, 16), strict=True):
        assert abs(float(moment.means[:, 0].mean()) - frame) < 0.2


def test_a_folder_with_other_moments_is_refused(scene: SplatScene, tmp_path: Path) -> None:
    """Three new moments among the seventeen of an earlier export."""
    export_scene(scene, tmp_path / "scene.ply")
    shorter = SplatScene(scene.moments[:2], scene.times[:2])
    with pytest.raises(InputError, match=r"1 other files, such as frame_0002.ply, expected a new"):
        export_scene(shorter, tmp_path / "scene.ply")
    export_scene(scene, tmp_path / "scene.ply")


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan")])
def test_moments_need_a_frame_rate_above_zero(fps: float, tmp_path: Path) -> None:
    """A division by zero, or times that decrease."""
    with pytest.raises(InputError, match="frames a second above 0"):
        read_scene(tmp_path, fps)
