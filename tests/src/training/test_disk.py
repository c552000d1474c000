"""Trainings on disks that fail, and two trainings in one folder; each in a process of its own."""

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from warm.python import warm_python

from src.training.checkpoints.files import list_checkpoints

PROGRAM = Path(__file__).resolve().parents[2] / "launch_linear.py"
pytestmark = pytest.mark.slow


def command(folder: Path, steps: int) -> list[str]:
    """A training of the linear task, with a checkpoint and a validation every two steps."""
    return [sys.executable, str(PROGRAM), str(folder), "2", str(steps), "a: 1", "1"]


def run(
    folder: Path, steps: int = 4, before: Callable[[], None] | None = None
) -> subprocess.CompletedProcess:
    arguments = [warm_python(), *command(folder, steps)[1:]]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, preexec_fn=before)


def last_line(done: subprocess.CompletedProcess) -> str:
    """The one line that says what is wrong."""
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    return done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("size", "named"),
    [(0, "/run:"), (100, "steps.jsonl"), (1500, "optimizer.pt"), (6000, "random.pt")],
)
def test_a_full_disk_is_named_and_left_clean(tmp_path: Path, size: int, named: str) -> None:
    """A traceback of torch or safetensors; a half-written checkpoint that takes the last room."""
    limit = (size, size)
    done = run(tmp_path / "run", before=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limit))
    said = last_line(done)
    assert named in said and "room on its disk" in said
    found = [path.name for path in (tmp_path / "run").iterdir()]
    assert not any("checkpoint" in name for name in found), found
    assert run(tmp_path / "run").returncode == 0


@pytest.mark.parametrize("name", ["file/run", "n" * 300])
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path, name: str) -> None:
    """A traceback for a path through a file, or for a name that is too long."""
    (tmp_path / "file").write_text("")
    assert f"{name[:20]}" in last_line(run(tmp_path / name))


@pytest.fixture
def first(tmp_path: Path) -> Iterator[subprocess.Popen]:
    """A training without an end, which has written a checkpoint."""
    process = subprocess.Popen(command(tmp_path / "run", 10**6), stderr=subprocess.DEVNULL)
    end = time.monotonic() + 120
    while not list_checkpoints(tmp_path / "run"):
        assert process.poll() is None and time.monotonic() < end, "no checkpoint"
        time.sleep(0.05)
    yield process
    process.kill()
    process.wait()


def test_the_second_training_in_a_folder_is_told_who_is_there(
    tmp_path: Path, first: subprocess.Popen
) -> None:
    """Checkpoints of two trainings in one folder; a folder that a kill blocks for ever."""
    said = last_line(run(tmp_path / "run"))
    assert f"in use by process {first.pid} on " in said
    first.kill()
    first.wait()
    assert (tmp_path / "run" / ".training.lock").is_file()
    assert run(tmp_path / "run").returncode == 0
    assert not (tmp_path / "run" / ".training.lock").exists()
