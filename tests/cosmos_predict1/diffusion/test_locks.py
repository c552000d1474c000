"""A clip is written by one process at a time, and a killed one does not block it."""

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from cosmos_predict1.diffusion.locks import clip_lock, file_lock
from src.io.clip import ClipPaths, list_trajectories
from src.runtime import InputError


def hold(root: Path) -> None:
    with clip_lock(ClipPaths(root, "0", "scene")):
        (root / "held").touch()
        time.sleep(60)


def test_a_second_holder_is_refused_with_the_first_ones_name(tmp_path: Path) -> None:
    """Two runs that write the same clip, each over the files of the other."""
    paths = ClipPaths(tmp_path, "0", "scene")
    with clip_lock(paths):
        with pytest.raises(InputError, match=f"process {os.getpid()} on "), clip_lock(paths):
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


def test_a_killed_process_blocks_nothing(tmp_path: Path) -> None:
    """A stale lock file that has to be deleted by hand."""
    process = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path,))
    process.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "held").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    paths = ClipPaths(tmp_path, "0", "scene")
    with pytest.raises(InputError, match=f"process {process.pid} on "), clip_lock(paths):
        pass
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with clip_lock(paths):
        pass


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A traceback for an output whose name is that of a file."""
    (tmp_path / "out").write_text("a file")
    paths = ClipPaths(tmp_path / "out", "0", "scene")
    with pytest.raises(InputError, match="out: got no access"), clip_lock(paths):
        pass


def test_a_file_lock_waits(tmp_path: Path) -> None:
    """Two processes that both make the picture of a prompt."""
    order: list[str] = []

    def second() -> None:
        with file_lock(tmp_path / "new" / ".a.lock"):
            order.append("second")

    thread = threading.Thread(target=second)
    with file_lock(tmp_path / "new" / ".a.lock"):
        thread.start()
        time.sleep(0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
