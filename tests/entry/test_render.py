"""`scripts/render.py` as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_scene import HEIGHT, WIDTH, TinyInput, write_tiny_input
from warm.python import warm_python

from src.evaluation.metrics import psnr
from src.io.video.video import read_video, video_header
from src.reconstruct.run import reconstruct

REPOSITORY = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


def render(
    folder: Path, *arguments: str, python: str | None = None
) -> subprocess.CompletedProcess[str]:
    command = [python or warm_python(), str(REPOSITORY / "scripts/render.py"), *arguments]
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of sample.py of one scene, every frame rendered."""
    inputs: TinyInput = write_tiny_input(tmp_path_factory.mktemp("scene"), scenes=1)
    reconstruct(inputs.configure(inputs.output, "target_index_subsample=1"))
    return inputs.tree()


@pytest.mark.slow
def test_the_cameras_of_a_scene_give_its_renderings(results: Path, tmp_path: Path) -> None:
    """Another projection, background or order of frames than sample.py's."""
    cameras = str(results / "scenes/0/cameras.json")
    arguments = (str(results), cameras, "out.mp4", "--depth", "depth.mp4")
    done = render(tmp_path, *arguments, python=sys.executable)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("out.mp4 and depth.mp4: 18 frames of 48x32 at 24 fps")
    count = video_header(results / "raw/rgb_0_view_idx_0.mp4").num_frames
    found = read_video(tmp_path / "out.mp4")
    for position in range(2):
        theirs = read_video(results / f"raw/rgb_0_view_idx_{position}.mp4")
        ours = found[position * count : (position + 1) * count]
        assert psnr(*(part.permute(0, 3, 1, 2) / 255 for part in (ours, theirs))).min() > 30
    depth = read_video(results / "full_output/sample_0.mp4")[:, :, 2 * WIDTH :]
    ours = read_video(tmp_path / "depth.mp4")
    assert ours.shape == (2 * count, HEIGHT, WIDTH, 3)
    # Both are compressed, the other one strongly.
    assert (ours.float() - depth.float()).abs().mean() < 12


@pytest.mark.slow
def test_mistakes_are_one_line(results: Path, tmp_path: Path) -> None:
    """A traceback, or minutes of rendering before a mistake is noticed."""
    cameras = results / "scenes/0/cameras.json"
    values = json.loads(cameras.read_text())
    for frame in values["frames"]:
        frame["c2w"][2][3] = -1e6
    (tmp_path / "far.json").write_text(json.dumps(values))
    for scene, path, rest, words in (
        (results, "far.json", (), "far.json: got frame 0"),
        (results, "none.json", (), "none.json: got no such file"),
        (tmp_path / "no", str(cameras), (), "no: got no such file or folder"),
        (results, str(cameras), ("--width", "31"), "width: got 31"),
        (results, str(cameras), ("--rasterizer", "cuda"), "rasterize backend 'cuda'"),
    ):
        done = render(tmp_path, str(scene), path, "out.mp4", *rest)
        assert done.returncode == 1 and words in done.stderr, done.stderr
        assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "out.mp4").exists()
