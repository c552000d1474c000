"""Manifests, and the files of an evaluation."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from captured_world import CapturedWorld

from src.evaluation.capture.measure import measure_capture
from src.evaluation.capture.reading import read_capture
from src.evaluation.capture.report import Frames, choose_frames, write_report
from src.evaluation.compare import load_measures
from src.io.image import image_size
from src.runtime import InputError


def test_the_report_and_its_manifest(tmp_path: Path, world: CapturedWorld) -> None:
    """Would catch JSON with infinities, a table without a method, a manifest that it can't read."""
    capture = read_capture(world.write(tmp_path / "yard"))
    frames = Frames(2, (0, 3, 8))
    measures = load_measures(("psnr", "ssim", "lpips"), tmp_path)
    measured = measure_capture(
        capture, 2, frames.targets, world.view(), world.gaussians(), measures
    )
    text = write_report(
        tmp_path / "out", capture, frames, measured, measures=measures, made_with={"depth": "exact"}
    )
    assert "## all 3 targets" in text and "## 2 targets evenly after the input" in text
    assert text.count("| unprojected |") == 4 and "LPIPS: no weights" in text
    content = json.loads((tmp_path / "out/metrics.json").read_text())
    assert content["made_with"] == {"depth": "exact"} and set(content["factors"]) == set(
        measured.factors
    )
    assert len(content["frames"]["figures"]["aligned"]["repeated"]) == 3
    assert image_size(tmp_path / "out/sheet.png")[1] > 640
    assert choose_frames(capture, None, tmp_path / "out/manifest.json") == frames
    assert choose_frames(capture, "images/0002.png", tmp_path / "out/manifest.json") == frames


def test_without_a_manifest_all_others_are_targets(tmp_path: Path, world: CapturedWorld) -> None:
    """Would catch the input among its targets."""
    capture = read_capture(world.write(tmp_path))
    assert choose_frames(capture, None, None) == Frames(0, tuple(range(1, 9)))
    assert choose_frames(capture, "0001", None).targets == (0, *range(2, 9))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict.clear, "no capture, input, targets, digest"),
        (lambda values: values.update(targets=[]), "no targets"),
        (lambda values: values.update(targets=[1]), "no text"),
        (lambda values: values.update(input="hall.png"), "of another capture"),
        (lambda values: values.update(targets=["images/0000.png"]), "a picture twice"),
        (lambda values: values.update(digest="0" * 64), "files or capture are others"),
    ],
)
def test_bad_manifests(
    tmp_path: Path, world: CapturedWorld, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    """Would catch figures of frames that the manifest does not mean."""
    capture, path = read_capture(world.write(tmp_path / "yard")), tmp_path / "manifest.json"
    values = Frames(0, (1, 2)).manifest(capture)
    path.write_text(json.dumps(values))
    assert choose_frames(capture, None, path).targets == (1, 2)
    with pytest.raises(InputError, match="0003"):
        choose_frames(capture, "0003", path)
    change(values)
    path.write_text(json.dumps(values))
    with pytest.raises(InputError) as caught:
        choose_frames(capture, None, path)
    assert words in str(caught.value)
