"""`scripts/evaluate.py capture` as a user runs it, with the small weights."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from captured_world import CapturedWorld
from warm.python import warm_python

from src.evaluation.capture.reading import read_capture

REPOSITORY = Path(__file__).resolve().parents[4]


def measured(capture: Path, output: Path, *flags: str, python: str) -> dict[str, Any]:
    """The figures of a capture."""
    script, weights = REPOSITORY / "scripts/evaluate.py", REPOSITORY / "assets/nano"
    command = [python, script, "capture", capture, "--checkpoint_dir", weights, "--output", output]
    words = [*map(str, command), "--device", "cpu", *flags]
    done = subprocess.run(words, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    assert "covered" in done.stdout
    return json.loads((output / "metrics.json").read_text())


@pytest.mark.slow
def test_a_picture_becomes_a_scene_that_is_measured(world: CapturedWorld, tmp_path: Path) -> None:
    """A command that makes no scene, or measures another than the one that is named."""
    capture = world.write(tmp_path / "capture")
    made = measured(capture, tmp_path / "made", python=sys.executable)
    scene = tmp_path / "made/scene/results"
    again = measured(capture, tmp_path / "b", "--scene", str(scene), python=warm_python())
    assert again.pop("made_with")["lens"] == made.pop("made_with")["lens"]
    assert made == again
    flags = ("--scene", str(scene), "--lens", "captured")
    fitted = measured(capture, tmp_path / "c", *flags, python=warm_python())
    expected = read_capture(capture).placed(0, (256, 448)).intrinsics[0].tolist()
    assert fitted["made_with"]["lens"] == pytest.approx(expected)
    assert fitted["made_with"]["estimated_by"] == "nano"
    assert (tmp_path / "made/sheet.png").is_file() and (tmp_path / "made/summary.md").is_file()
