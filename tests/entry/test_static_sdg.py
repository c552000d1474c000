"""The command for pictures, run as a user does: from another folder, without PYTHONPATH."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from interrupting import interrupt
from tiny_generator import MULTI, write_picture, write_tiny_weights
from tiny_scene import write_tiny_input
from warm.python import warm_python

from src.io.atomic import is_temporary
from src.io.clip.clip import ClipPaths, is_finished, list_keys, open_clip

REPOSITORY = Path(__file__).resolve().parents[2]
ENTRY = REPOSITORY / "cosmos_predict1" / "diffusion" / "inference" / "gen3c_single_image_sdg.py"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder far from the repository with weights and pictures."""
    root = tmp_path_factory.mktemp("a user's folder")
    write_tiny_weights(root / "weights")
    write_picture(root / "photo.png")
    for name in ("photos/a.png", "photos/b.JPG"):
        write_picture(root / name)
    return root


def environment(**variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""} | variables


def command(output: str, *arguments: str, launch: tuple[str, ...] = ()) -> list[str]:
    common = ("--checkpoint_dir", "weights", "--video_save_folder", output)
    return [sys.executable, *launch, str(ENTRY), *common, *arguments]


def call(
    folder: Path, line: list[str], python: str | None = None
) -> subprocess.CompletedProcess[str]:
    line = [python or warm_python(), *line[1:]]
    return subprocess.run(line, cwd=folder, env=environment(), capture_output=True, text=True)


def finished(root: Path, key: str) -> list[str]:
    return [name for name in MULTI if is_finished(ClipPaths(root, name, key))]


@pytest.fixture(scope="module")
def six(folder: Path) -> Path:
    """Six trajectories of one picture, made in one process."""
    line = command("out/six", "--input_image_path", "photo.png", "--multi_trajectory")
    done = call(folder, line, python=sys.executable)
    assert done.returncode == 0, done.stderr
    assert "trajectories: 100%" in done.stderr and "photo 5" in done.stderr
    return folder / "out" / "six"


def test_one_picture_six_trajectories(six: Path) -> None:
    """A command that works from the repository alone, or leaves its locks behind."""
    assert finished(six, "photo") == list(MULTI)
    assert sorted(path.name for path in six.iterdir()) == list(MULTI)
    assert not any(path.name.startswith(".") for path in six.rglob("*"))


def test_the_decoder_reads_the_clips(six: Path, tmp_path: Path) -> None:
    """Clips that the second stage cannot take."""
    tiny = write_tiny_input(tmp_path / "decoder")
    line = [warm_python(), str(REPOSITORY / "sample.py")]
    line += tiny.arguments(f"dataset_root={six}", "device=cpu")
    done = subprocess.run(line, cwd=REPOSITORY, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    videos = list(tiny.tree().glob("main_gaussians_renderings/*.mp4"))
    assert len(videos) == 1
    assert json.loads(next(tiny.tree().glob("meta/*.json")).read_text())


def test_a_folder_and_a_list(folder: Path) -> None:
    """Inputs that only the single picture's code path can name."""
    done = call(folder, command("out/folder", "--input_image_path", "photos", "--num_steps", "1"))
    assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in (folder / "out/folder/rgb").iterdir()) == ["a", "b"]
    lines = [{"visual_input": "photos/a.png"}, {"visual_input": "photo.png"}]
    (folder / "batch.jsonl").write_text("\n".join(map(json.dumps, lines)))
    done = call(
        folder, command("out/batch", "--batch_input_path", "batch.jsonl", "--num_steps", "1")
    )
    assert done.returncode == 0, done.stderr
    assert sorted(path.stem for path in (folder / "out/batch/rgb").iterdir()) == ["a", "photo"]


def test_two_processes_make_what_one_makes(folder: Path, six: Path) -> None:
    """Processes that write the same clips, or other ones than a single process."""
    launch = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0")
    arguments = ("--input_image_path", "photo.png", "--multi_trajectory", "--num_gpus", "2")
    done = call(folder, command("out/two", *arguments, launch=launch))
    assert done.returncode == 0, done.stderr
    two = folder / "out" / "two"
    assert finished(two, "photo") == list(MULTI)
    for name in MULTI:
        pair = [open_clip(ClipPaths(root, name, "photo")).latents() for root in (six, two)]
        torch.testing.assert_close(*pair)


@pytest.mark.parametrize("flags", [("--context_parallel", "2"), ("--guidance_parallel",)])
def test_two_processes_share_a_clip(folder: Path, six: Path, flags: tuple[str, ...]) -> None:
    """Tokens or branches that are lost between processes, or a process that never ends."""
    launch = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone")
    output = f"out/{flags[0]}"
    line = command(output, "--input_image_path", "photo.png", "--multi_trajectory", launch=launch)
    done = call(folder, [*line, *flags])
    assert done.returncode == 0, done.stderr
    assert finished(folder / output, "photo") == list(MULTI)
    for name in MULTI:
        pair = [open_clip(ClipPaths(at, name, "photo")).latents() for at in (six, folder / output)]
        torch.testing.assert_close(*pair, rtol=1e-4, atol=1e-5)
    # Nothing is left to do: the other process ends as well, without loading networks.
    done = call(folder, [*line, *flags])
    assert done.returncode == 0 and "loading the generator" not in done.stderr, done.stderr


@pytest.fixture
def killed(folder: Path) -> Iterator[Path]:
    """An output whose run was killed between the second clip and the last one."""
    root = folder / "out" / "killed"
    line = command("out/killed", "--input_image_path", "photo.png", "--multi_trajectory")
    line += ["--num_steps", "40"]
    process = subprocess.Popen(line, cwd=folder, env=environment(), stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 300
    try:
        while not (root / "1" / "meta" / "photo.json").is_file():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    yield root


def test_a_killed_run_goes_on(folder: Path, killed: Path) -> None:
    """A half-written clip taken for whole, a whole one made again, a lock that blocks."""
    before = finished(killed, "photo")
    assert "1" in before and len(before) < 6
    times = {name: (killed / name / "rgb" / "photo.mp4").stat().st_mtime_ns for name in before}
    arguments = ("--input_image_path", "photo.png", "--multi_trajectory", "--num_steps", "40")
    done = call(folder, command("out/killed", *arguments))
    assert done.returncode == 0, done.stderr
    assert f"{6 - len(before)} of 6 clips of this process are missing" in done.stderr
    assert finished(killed, "photo") == list(MULTI) and list_keys(killed) == ["photo"]
    for name, stamp in times.items():
        assert (killed / name / "rgb" / "photo.mp4").stat().st_mtime_ns == stamp
    assert not any(is_temporary(path) for path in killed.rglob("*"))


def test_ctrl_c_ends_in_one_line(folder: Path) -> None:
    """A traceback, a lost clip, a half-written one, a lock or a process that stays behind."""
    root = folder / "out" / "stopped"
    line = command("out/stopped", "--input_image_path", "photo.png", "--multi_trajectory")
    line += ["--num_steps", "40"]
    done = interrupt(line, folder, root / "1" / "meta" / "photo.json")
    assert done.returncode == 130 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("gen3c_single_image_sdg.py: stopped; ")
    kept = finished(root, "photo")
    assert {"0", "1"} <= {*kept} and len(kept) < 6
    assert not [path for path in root.rglob(".*") if path.is_file()]


def test_mistakes_end_in_one_line(folder: Path) -> None:
    """A traceback, or exit code 0, for what a user can mend."""
    for arguments, words in (
        (("--input_image_path", "nowhere.png"), "nowhere.png"),
        (("--input_image_path", "photo.png", "--num_gpus", "2"), "--num_gpus"),
        (("--input_image_path", "photo.png", "--prompt", "a dog"), "text encoder"),
    ):
        done = call(folder, command("out/none", *arguments))
        assert done.returncode == 1 and "Traceback" not in done.stderr
        assert words in done.stderr.splitlines()[-1]
    assert not (folder / "out" / "none").exists()


def test_the_script_passes_its_arguments_on(folder: Path) -> None:
    """A shell script that works from one folder alone."""
    script = REPOSITORY / "scripts" / "bash" / "static_sdg.sh"
    line = ["bash", str(script), "photo.png", "out/script", "--checkpoint_dir", "weights"]
    env = environment(PYTHON=warm_python())
    done = subprocess.run(
        [*line, "--num_steps", "1"], cwd=folder, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert finished(folder / "out" / "script", "photo") == list(MULTI)
    assert subprocess.run(["bash", str(script), "photo.png"], capture_output=True).returncode == 2
