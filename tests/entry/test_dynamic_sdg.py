"""The command for videos, run as a user does: from another folder, without PYTHONPATH."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_video
from tiny_generator import MULTI, write_tiny_weights
from warm.python import warm_python

from src.io.clip.clip import ClipPaths, is_finished, open_clip

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY = REPOSITORY / "cosmos_predict1" / "diffusion" / "inference" / "gen3c_dynamic_sdg.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder far from the repository with weights and videos."""
    root = tmp_path_factory.mktemp("videos")
    write_tiny_weights(root / "weights")
    tiny_video.write_vipe(root / "vipe", "dog")
    tiny_video.write_plain(root / "plain.mp4")
    return root


def call(folder: Path, *line: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "PYTHON": sys.executable}
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True)


def test_one_video_twelve_trajectories(folder: Path) -> None:
    """The published command line for training data, from the script."""
    script = str(REPOSITORY / "scripts" / "bash" / "dynamic_sdg.sh")
    arguments = ("--checkpoint_dir", "weights", "--flip_supervision", "--num_steps", "1")
    done = call(folder, "bash", script, "vipe/rgb/dog.mp4", "out/dog", *arguments)
    assert done.returncode == 0, done.stderr
    root = folder / "out" / "dog"
    for name in (*MULTI, "6", "7", "8", "9", "10", "11"):
        paths = ClipPaths(root, name, "dog")
        assert is_finished(paths) and open_clip(paths).info.fps == 12
    assert len(list(root.iterdir())) == 12


def test_a_plain_video(folder: Path) -> None:
    """A video without ViPE results that the command refuses."""
    common = ("--checkpoint_dir", "weights", "--num_steps", "1", "--video_save_folder", "out/plain")
    done = call(folder, warm_python(), str(ENTRY), "--input_image_path", "plain.mp4", *common)
    assert done.returncode == 0, done.stderr
    clip = open_clip(ClipPaths(folder / "out" / "plain", "", "plain"))
    assert clip.meta()["depth"] == "nano" and clip.paths.latent.is_file()


def test_mistakes_end_in_one_line(folder: Path) -> None:
    """A traceback for a folder that is no ViPE result."""
    (folder / "empty").mkdir(exist_ok=True)
    common = ("--checkpoint_dir", "weights", "--video_save_folder", "out/none")
    done = call(folder, warm_python(), str(ENTRY), "--vipe_path", "empty", *common)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "rgb/*.mp4" in done.stderr.splitlines()[-1]
