"""`scripts/evaluate.py` as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from warm.python import warm_python

from src.io.video.video import write_video

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY = str(REPOSITORY / "scripts/evaluate.py")


def run(
    folder: Path, *arguments: str, python: str | None = None
) -> subprocess.CompletedProcess[str]:
    command = [python or warm_python(), ENTRY, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_two_folders_of_videos(tmp_path: Path) -> None:
    """Would catch an entry that fails from another folder, hides LPIPS, or swallows an error."""
    ramp = torch.linspace(0, 255, 32).byte()[None, None, :, None].expand(6, 24, -1, 3).clone()
    for name in ("x", "y"):
        write_video(tmp_path / f"reference/{name}.mp4", ramp, 24)
        write_video(tmp_path / f"prediction/{name}.mp4", (ramp.float() * 0.9).byte()[:5], 24)
    failed = run(tmp_path, "prediction", "reference")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert "prediction/x.mp4 and reference/x.mp4: got 5 and 6 frames" in failed.stderr
    done = run(tmp_path, "prediction", "reference", "--frames", "5", python=sys.executable)
    assert done.returncode == 0, done.stderr
    assert "not computed: no weights in checkpoints/lpips" in done.stdout
    summary = json.loads((tmp_path / "prediction_evaluation/summary.json").read_text())
    overall = summary["metrics"]["psnr"]["overall"]
    # A tenth too dark on a ramp from 0 to 1: the mean square error is 0.01 / 3.
    assert overall["mean"] == pytest.approx(24.8, abs=0.7) and overall["count"] == 2
    assert (tmp_path / "prediction_evaluation/ssim.png").is_file()


def test_wrong_options(tmp_path: Path) -> None:
    """Would catch a count of frames that is not one, taken for another."""
    for words in (["--frames", "0"], ["--metrics", "fid"], ["--resize", "stretch"]):
        done = run(tmp_path, "a", "b", *words)
        assert done.returncode == 2 and words[0] in done.stderr
