import os
import subprocess
import sys
from pathlib import Path

import pytest

from src.io.atomic import atomic_path, is_temporary


def test_writes_the_whole_file_under_its_name(tmp_path: Path) -> None:
    """A forgotten rename, a lost suffix or missing parent folders."""
    target = tmp_path / "a" / "b" / "clip.v1.npz"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".npz"
        assert is_temporary(temporary) and not is_temporary(target)
        temporary.write_bytes(b"content")
        assert not target.exists()
    assert target.read_bytes() == b"content"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failure_keeps_the_old_file_and_leaves_nothing_else(
    tmp_path: Path, error: BaseException
) -> None:
    """Half a file under the final name, or a left-over temporary, after a full disk or Ctrl-C."""
    target = tmp_path / "pose.npz"
    target.write_text("old")
    with pytest.raises(type(error)), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_block_that_writes_nothing_is_our_mistake(tmp_path: Path) -> None:
    """A writer that ignores the temporary path and would silently produce no file."""
    with pytest.raises(AssertionError, match="nothing was written"), atomic_path(tmp_path / "x"):
        pass


def test_orphans_of_killed_processes_go_and_those_of_living_ones_stay(tmp_path: Path) -> None:
    """Left-overs that pile up after kills, or a clean-up that pulls a file from a running job."""
    target = tmp_path / "clip.mp4"
    code = (
        "import os, signal, sys; from src.io.atomic import atomic_path\n"
        "with atomic_path(sys.argv[1]) as path:\n"
        "    path.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    root = Path(__file__).resolve().parents[3]
    subprocess.run([sys.executable, "-c", code, str(target)], cwd=root, check=False)
    (orphan,) = tmp_path.iterdir()
    assert is_temporary(orphan)
    living = orphan.with_name(
        orphan.name.replace(f"~{orphan.name.split('~')[2]}~", f"~{os.getpid()}~")
    )
    living.write_text("another writer of this process")
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
    assert sorted(tmp_path.iterdir()) == sorted([living, target])


def test_long_names_fit(tmp_path: Path) -> None:
    """A temporary whose name exceeds what the file system takes (prompts become clip names)."""
    target = tmp_path / ("ä" * 120 + ".json")
    with atomic_path(target) as temporary:
        temporary.write_text("{}")
    assert target.exists()
