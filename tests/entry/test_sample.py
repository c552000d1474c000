"""`sample.py` and `inference.sh` as a user runs them."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from interrupting import interrupt
from tiny_scene import DECODER, TinyInput, write_tiny_input
from warm.python import warm_python

from src.io.ply import read_ply
from src.models.recon.decoder import LatentRecon, save_decoder

REPOSITORY = Path(__file__).resolve().parents[2]
PYTHON = [sys.executable]
ACCELERATE = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch"]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
MINUTES = 300

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def static_input(tmp_path_factory: pytest.TempPathFactory) -> TinyInput:
    return write_tiny_input(tmp_path_factory.mktemp("static"), scenes=3)


def run(launcher: list[str], inputs: TinyInput, cwd: Path, *settings: str) -> str:
    """Standard error of a run that must succeed."""
    command = [*launcher, str(REPOSITORY / "sample.py"), *inputs.arguments(*settings)]
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=MINUTES
    )
    assert done.returncode == 0, done.stderr
    return done.stderr


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder; videos by name alone, their bytes depend on threads."""
    return {
        str(path.relative_to(folder)): b"" if path.suffix == ".mp4" else path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def two_processes() -> list[str]:
    """Starts two processes; without a GPU the flag puts them on the CPU."""
    numbers = ["--num_processes", "2", "--main_process_port", "0"]
    return [warm_python(), *ACCELERATE[1:], "--multi_gpu", *numbers]


def test_one_and_two_processes_write_the_same(static_input: TinyInput, tmp_path: Path) -> None:
    """Scenes that are made twice or by nobody, or a run that only works in the repository."""
    one, two = tmp_path / "one", tmp_path / "two"
    run(ACCELERATE, static_input, tmp_path, f"out_dir_inference={one}")
    log = run(two_processes(), static_input, tmp_path, f"out_dir_inference={two}", "save_grid=true")
    assert "3 scenes, 2 of this process" in log
    expected = contents(one)
    assert sum("/meta/" in name for name in expected) == 3
    found = contents(two)
    assert {name for name in found.keys() - expected.keys() if "/grid/" not in name} == set()
    assert {name: found[name] for name in expected} == expected


def test_two_processes_share_each_scene(static_input: TinyInput, tmp_path: Path) -> None:
    """A scene that two processes write, other Gaussians, or a helper that never ends."""
    heads = "model.decoder.heads=2"
    run(PYTHON, static_input, tmp_path, f"out_dir_inference={tmp_path}/one", heads)
    shared = (f"out_dir_inference={tmp_path}/two", "processes_per_scene=2", heads)
    log = run(two_processes(), static_input, tmp_path, *shared)
    assert "3 scenes, 3 of this process" in log
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    assert one.keys() == two.keys()
    plys = [name for name in one if name.endswith(".ply")]
    assert len(plys) == 3
    for name in plys:
        expected, found = (read_ply(tmp_path / run / name).packed() for run in ("one", "two"))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_dynamic_scenes_at_several_times(tmp_path: Path) -> None:
    """Times that don't get their folders when the command is run as a whole."""
    inputs = write_tiny_input(tmp_path, dynamic=True, scenes=1)
    run(PYTHON, inputs, REPOSITORY)
    for time_index in (0, 8):
        folder = inputs.tree(time_index)
        assert (folder / "meta/sample_0.json").is_file()
        assert (folder / "gaussians_orig/gaussians_0.ply").is_file()


def test_a_killed_run_resumes(static_input: TinyInput, tmp_path: Path) -> None:
    """A resumed run that redoes or skips the wrong scenes, or trusts half-written files."""
    inputs = more_scenes(static_input, tmp_path / "input", copies=8)
    command = [*PYTHON, str(REPOSITORY / "sample.py"), *inputs.arguments()]
    meta = inputs.tree() / "meta"
    with subprocess.Popen(command, cwd=tmp_path, env=ENVIRONMENT, stderr=subprocess.DEVNULL) as job:
        limit = time.monotonic() + MINUTES
        while not list(meta.glob("sample_*.json")):
            assert job.poll() is None and time.monotonic() < limit, "ended before it was killed"
            time.sleep(0.01)
        job.send_signal(signal.SIGKILL)
        job.wait()
    finished = {path: path.stat().st_mtime_ns for path in meta.glob("sample_*.json")}
    total = 3 + 8
    assert 1 <= len(finished) < total
    log = run([warm_python()], inputs, tmp_path)
    assert f"{total} scenes, {total - len(finished)} of this process unfinished" in log
    assert len(list(meta.glob("*.json"))) == total
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())
    assert not [path for path in inputs.output.rglob(".*") if "~" in path.name]
    whole = tmp_path / "whole"
    run([warm_python()], inputs, tmp_path, f"out_dir_inference={whole}")
    assert contents(inputs.output) == contents(whole)


def test_ctrl_c_ends_in_one_line(static_input: TinyInput, tmp_path: Path) -> None:
    """A traceback, or half-written files and processes that stay behind."""
    inputs = more_scenes(static_input, tmp_path / "input", copies=16)
    command = [*PYTHON, str(REPOSITORY / "sample.py"), *inputs.arguments()]
    done = interrupt(command, tmp_path, inputs.tree() / "meta/sample_0.json")
    assert done.returncode == 130 and "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("sample.py: stopped; ")
    assert 1 <= len(list(inputs.tree().glob("meta/*"))) < 3 + 16
    assert not [path for path in inputs.output.rglob(".*") if path.is_file()]


def more_scenes(inputs: TinyInput, folder: Path, copies: int) -> TinyInput:
    """The same input with copies of its first scene under other names."""
    shutil.copytree(inputs.folder, folder, ignore=shutil.ignore_patterns("out", "training"))
    settings = folder / "tiny.yaml"
    settings.write_text(settings.read_text().replace(str(inputs.folder), str(folder)))
    for path in sorted((folder / "clips").rglob("scene_0.*")):
        for number in range(copies):
            shutil.copy(path, path.with_stem(f"scene_{10 + number}"))
    return TinyInput(folder, inputs.dynamic)


def test_bad_input_is_one_line(static_input: TinyInput, tmp_path: Path) -> None:
    """A traceback where a sentence says it, or an exit status of success."""
    arguments = static_input.arguments("skip_exsting=true", f"out_dir_inference={tmp_path}")
    command = [warm_python(), str(REPOSITORY / "sample.py"), *arguments]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "did you mean 'skip_existing'" in done.stderr
    assert "Traceback" not in done.stderr


def test_inference_renders_the_stages_that_have_checkpoints(
    static_input: TinyInput, tmp_path: Path
) -> None:
    """Stages without a checkpoint that stop it, or results in another stage's folder."""
    stage = "3dgs_res_704_1280_views_121_multi_6"
    training = tmp_path / "training" / stage
    save_decoder(LatentRecon(DECODER), training / "checkpoint-7")
    shutil.copy(static_input.folder / "tiny.yaml", training / "config.yaml")
    environment = {
        **ENVIRONMENT,
        "OUTPUT": str(tmp_path),
        "LAUNCH": warm_python(),
    }
    command = ["bash", str(REPOSITORY / "inference.sh"), f"dataset_root={static_input.root}"]
    command += ["static_view_indices_fixed=['1','2']", "num_test_images=1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"== {stage}"]
    folder = tmp_path / "inference" / stage / "checkpoint-7/static_view_indices_fixed_1_2"
    assert (folder / "lyra_static_demo/meta/sample_0.json").is_file()
    shutil.rmtree(tmp_path / "training")
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 1 and "no checkpoint" in done.stderr
