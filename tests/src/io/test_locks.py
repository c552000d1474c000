"""Locks between processes: who holds one is named, and who dies holds none."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.io.locks import process_lock
from src.runtime import InputError

REPOSITORY = Path(__file__).resolve().parents[3]
# Holds a lock, and leaves a child behind as a worker is left behind.
HOLDER = """
import os, sys, time
from pathlib import Path
from src.io.locks import process_lock
with process_lock(Path(sys.argv[1]), "patience"):
    child = os.fork()
    if child:
        print(child, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "run" / ".lock")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    child = int(process.stdout.readline())
    yield process
    process.kill()
    process.wait()
    os.kill(child, signal.SIGKILL)


def test_a_held_lock_is_an_error_that_names_the_holder(
    tmp_path: Path, holder: subprocess.Popen
) -> None:
    """Two trainings in one folder; a lock that stays after a kill, or stays with a child."""
    path = tmp_path / "run" / ".lock"
    said = f"run: got in use by process {holder.pid} on .*, expected patience"
    with pytest.raises(InputError, match=said), process_lock(path, "patience"):
        pass
    holder.kill()
    holder.wait()
    assert path.is_file()
    with process_lock(path, "patience"):
        assert str(os.getpid()) in path.read_text()
    assert not path.exists()


def test_a_lock_does_not_follow_links(tmp_path: Path) -> None:
    """A file of somebody else that is emptied because a lock points to it."""
    (tmp_path / "precious").write_text("precious")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with (
        pytest.raises(InputError, match="is a link"),
        process_lock(tmp_path / ".lock", "patience"),
    ):
        pass
    assert (tmp_path / "precious").read_text() == "precious"


@pytest.mark.parametrize("name", ["file/run", "n" * 300])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, name: str) -> None:
    """A traceback for a path through a file, or for a name that is too long."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(InputError, match="can be written"),
        process_lock(tmp_path / name / ".lock", "patience"),
    ):
        pass
