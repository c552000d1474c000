"""The shell scripts: signals reach what they have started, numbers are numbers, demos run bare."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tiny_generator import MULTI, write_tiny_weights

REPOSITORY = Path(__file__).resolve().parents[2]
# Starts a child of its own, as `accelerate launch` does, and tells who there is.
SLEEPER = """\
import os, subprocess, sys, time
if sys.argv[1] == "child":
    time.sleep(60)
child = subprocess.Popen([sys.executable, __file__, "child"])
with open(os.environ["TOLD"] + ".part", "w") as file:
    file.write(f"{os.getpid()} {child.pid}")
os.rename(os.environ["TOLD"] + ".part", os.environ["TOLD"])
time.sleep(60)
"""


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
@pytest.mark.parametrize("script", ["train.sh", "inference.sh"])
def test_a_signal_to_the_script_alone_ends_what_it_has_started(
    tmp_path: Path, script: str, number: signal.Signals
) -> None:
    """A training that goes on beside the next one, because only its shell has ended."""
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    stage = tmp_path / "training/3dgs_res_176_320_views_17/checkpoint-1"
    stage.mkdir(parents=True)
    launch = f"{sys.executable} {tmp_path}/sleeper.py"
    told = tmp_path / "told"
    environment = os.environ | {"LAUNCH": launch, "OUTPUT": str(tmp_path), "TOLD": str(told)}
    process = subprocess.Popen(
        ["bash", str(REPOSITORY / script)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not told.is_file():
        time.sleep(0.02)
    children = [int(word) for word in told.read_text().split()]
    assert all(map(is_alive, children))
    process.send_signal(number)
    _, said = process.communicate(timeout=30)
    assert process.returncode == (130 if number == signal.SIGINT else 143)
    assert said.splitlines()[-1].startswith(f"{script}: stopped") and len(said.splitlines()) == 1
    deadline = time.monotonic() + 10
    while any(map(is_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, children))


@pytest.mark.parametrize(
    ("script", "name"),
    [
        *(("train.sh", name) for name in ("DYNAMIC", "STEPS", "MINUTES")),
        *((f"scripts/bash/{kind}_sdg.sh", "GPUS") for kind in ("static", "dynamic")),
    ],
)
@pytest.mark.parametrize("value", ["PATH[$(touch owned)]", "two", "08", "-1"])
def test_a_number_that_is_none_is_refused(
    tmp_path: Path, script: str, name: str, value: str
) -> None:
    """Bash, which runs commands that stand in what it calculates with."""
    given = f"{value} 1 1 1 1 1 1 1 1" if name == "MINUTES" else value
    given = "1,0 1 1 1 1 1 1 1 1" if name == "MINUTES" and value == "08" else given
    done = subprocess.run(
        ["bash", str(REPOSITORY / script)],
        cwd=tmp_path,
        env=os.environ | {name: given, "PYTHON": "false", "LAUNCH": "false"},
        capture_output=True,
        text=True,
    )
    assert done.returncode in (1, 2) and name in done.stderr, done.stderr
    assert not (tmp_path / "owned").exists() and len(done.stderr.splitlines()) == 1


def test_a_dynamic_stage_continues_an_earlier_one() -> None:
    """`DYNAMIC=9`, a stage that has not been trained yet, which would go on for ever."""
    environment = os.environ | {"DYNAMIC": "9", "LAUNCH": "false"}
    done = subprocess.run(
        ["bash", "train.sh"], cwd=REPOSITORY, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 2 and "DYNAMIC '9'" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_the_demo_runs_without_a_picture(tmp_path: Path, kind: str) -> None:
    """A script that asks for arguments where the original's makes the clips of a demo input."""
    write_tiny_weights(tmp_path / "weights")
    script = REPOSITORY / f"scripts/bash/{kind}_sdg.sh"
    done = subprocess.run(
        ["bash", str(script), "--checkpoint_dir", "weights", "--depth", "nano", "--num_steps", "1"],
        cwd=tmp_path,
        env=os.environ | {"PYTHON": sys.executable, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    for name in MULTI:
        (clip,) = (tmp_path / f"outputs/clips/{kind}/{name}/rgb").iterdir()
        assert clip.stem == ("garden" if kind == "static" else "bouncing_ball")


@pytest.mark.parametrize(("flags", "examples"), [([], "none"), (["--all"], "20000")])
def test_the_whole_suite_reads_ten_times_as_many_damaged_files(
    tmp_path: Path, flags: list[str], examples: str
) -> None:
    """A long fuzz test that no command runs, or that every quick run waits for."""
    (tmp_path / "scripts").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    shutil.copy(REPOSITORY / "scripts/test.sh", tmp_path / "scripts/test.sh")
    (tmp_path / "scripts/setup.sh").write_text("")
    python = tmp_path / ".venv/bin/python"
    python.write_text('#!/bin/sh\necho "$2 with ${FUZZ_EXAMPLES:-none}"\n')
    python.chmod(0o755)
    environment = {name: part for name, part in os.environ.items() if name != "FUZZ_EXAMPLES"}
    command = ["bash", str(tmp_path / "scripts/test.sh"), *flags]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"pytest with {examples}\n" in said.stdout
