"""Locks between processes: who holds one is named, and who dies holds none."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from src.io.clip.clip import ClipPaths, list_trajectories
from src.io.locks import HeldError, clip_lock, process_lock
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
def hold() -> Iterator[Callable[[Path], subprocess.Popen]]:
    """Starts a process that holds a lock."""
    with ExitStack() as ends:

        def start(path: Path) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, "-c", HOLDER, str(path)],
                cwd=REPOSITORY,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert process.stdout is not None
            child = int(process.stdout.readline())
            ends.callback(os.kill, child, signal.SIGKILL)
            ends.callback(process.wait)
            ends.callback(process.kill)
            return process

        yield start


def test_a_held_lock_is_an_error_that_names_the_holder(tmp_path: Path, hold: Callable) -> None:
    """Two trainings in one folder; a lock that stays after a kill, or stays with a child."""
    path = tmp_path / "run" / ".lock"
    holder = hold(path)
    said = f"run: got in use by process {holder.pid} on .*, expected patience"
    with pytest.raises(HeldError, match=said), process_lock(path, "patience"):
        pass
    holder.kill()
    holder.wait()
    assert path.is_file()
    with process_lock(path, "patience"):
        assert str(os.getpid()) in path.read_text()
    assert not path.exists()


def test_a_lock_is_waited_for(tmp_path: Path, hold: Callable) -> None:
    """A clip of another run that is made a second time, or waited for after that run's death."""
    paths = ClipPaths(tmp_path, "0", "scene")
    holder = hold(paths.meta.with_name(".scene.lock"))
    threading.Timer(0.5, holder.kill).start()
    start = time.monotonic()
    with clip_lock(paths, wait=True):
        assert time.monotonic() - start > 0.4
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_a_thread_waits_for_another(tmp_path: Path) -> None:
    """Two threads that both make the picture of a prompt; a lock file that stays."""
    order: list[str] = []
    path = tmp_path / "new" / ".a.lock"

    def second() -> None:
        with process_lock(path, "patience", wait=True):
            order.append("second")

    thread = threading.Thread(target=second)
    with process_lock(path, "patience", wait=True):
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and not path.exists()


def test_a_refused_thread_does_not_release_the_lock(tmp_path: Path, hold: Callable) -> None:
    """A record lock that is lost when the same process opens and closes the file once more."""
    path = tmp_path / ".lock"
    with process_lock(path, "patience"):
        with (
            pytest.raises(HeldError, match=f"process {os.getpid()} on "),
            reached_differently(path),
        ):
            pass
        with pytest.raises(ValueError, match="invalid literal"):
            hold(path)
    assert not path.exists()


def reached_differently(path: Path) -> ExitStack:
    """The lock of `path` by a longer way to the same file."""
    stack = ExitStack()
    stack.enter_context(process_lock(path.parent / ".." / path.parent.name / path.name, "patience"))
    return stack


def test_clips_are_locked_one_by_one(tmp_path: Path) -> None:
    """Two runs that write the same clip, each over the files of the other."""
    paths = ClipPaths(tmp_path, "0", "scene")
    with clip_lock(paths):
        with pytest.raises(HeldError, match=f"process {os.getpid()} on "), clip_lock(paths):
            pass
        with clip_lock(ClipPaths(tmp_path, "0", "other")):
            pass
        # Nothing beside the trajectories, which published readers would count.
        assert list_trajectories(tmp_path) == ["0"] and len(list(tmp_path.iterdir())) == 1
    with clip_lock(paths):
        pass
    assert not any(path.is_file() for path in tmp_path.rglob("*"))


def test_an_exception_releases_the_clip(tmp_path: Path) -> None:
    """A failed clip that no later run can make."""
    paths = ClipPaths(tmp_path, "", "scene")
    with pytest.raises(RuntimeError, match="failed"), clip_lock(paths):
        raise RuntimeError("failed")
    with clip_lock(paths):
        pass


def test_the_lock_of_another_run_stays(tmp_path: Path) -> None:
    """A run whose folder was removed, and which then removes the lock of its successor."""
    path = tmp_path / ".lock"
    with process_lock(path, "patience"):
        path.unlink()
        path.write_text("the successor")
    assert path.read_text() == "the successor"


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
