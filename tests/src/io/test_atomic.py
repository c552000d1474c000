import errno
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from src.io.atomic import UnwritableError, atomic_path, is_temporary
from src.runtime import InputError


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


def test_a_block_whose_file_is_gone_fails(tmp_path: Path) -> None:
    """A writer that ignores the temporary path, or a folder that was removed, and no error."""
    words = "x: got no file .what was written is gone"
    with pytest.raises(UnwritableError, match=words), atomic_path(tmp_path / "x"):
        pass
    out = tmp_path / "out"
    with pytest.raises(UnwritableError, match=words), atomic_path(out / "x") as temporary:
        temporary.write_text("")
        shutil.rmtree(out)


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
    number = f"~{orphan.name.split('~')[2]}~"
    living, reborn = (
        orphan.with_name(orphan.name.replace(number, f"~{process}~"))
        for process in (os.getppid(), os.getpid())
    )
    living.write_text("of a process that runs")
    # In a container that is started again, the next run has the number of the killed one.
    reborn.write_text("of a process that had this one's number")
    with atomic_path(target) as first:
        first.write_text("another writer of this process")
        with atomic_path(target) as temporary:
            temporary.write_text("whole")
            assert first.exists()
        assert sorted(tmp_path.iterdir()) == sorted([living, first, target])


@pytest.mark.parametrize("days", [0, 2])
def test_files_of_another_container_go_by_their_age(tmp_path: Path, days: int) -> None:
    """A file pulled from a container of the same host name, where no such process runs here."""
    target, ended = tmp_path / "clip.mp4", subprocess.Popen(["true"])
    ended.wait()
    other = tmp_path / f".clip~{socket.gethostname()}~{ended.pid}~0123abcd.mp4"
    other.write_text("half")
    written = time.time() - days * 24 * 3600
    os.utime(other, (written, written))
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
    assert other.exists() == (days == 0)


def test_files_of_the_user_are_no_orphans(tmp_path: Path) -> None:
    """A clean-up that takes any hidden file with tildes for one of its own."""
    for name in (".notes~a~1~backup", ".a~b~c~d", "clip~host~1~0123abcd.mp4"):
        (tmp_path / name).write_text("mine")
        os.utime(tmp_path / name, (0, 0))
    with atomic_path(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
    assert len([*tmp_path.iterdir()]) == 4


def test_many_files_in_a_folder_need_no_more_work_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at all files of the folder with each write: days for the clips of a training."""
    listed, iterdir = [], Path.iterdir

    def note(folder: Path) -> Iterator[Path]:
        listed.append(folder)
        return iterdir(folder)

    monkeypatch.setattr(Path, "iterdir", note)
    for number in range(20):
        with atomic_path(tmp_path / f"{number}.txt") as temporary:
            temporary.write_text("whole")
    assert listed == [tmp_path]


def test_long_names_fit(tmp_path: Path) -> None:
    """A temporary whose name exceeds what the file system takes (prompts become clip names)."""
    target = tmp_path / ("ä" * 120 + ".json")
    with atomic_path(target) as temporary:
        temporary.write_text("{}")
    assert target.exists()


def test_outputs_follow_the_umask(tmp_path: Path) -> None:
    """Weights that the group cannot read, because their writer makes private files."""
    import torch
    from safetensors.torch import save_file

    for mask, mode in ((0o022, 0o644), (0o027, 0o640), (0o077, 0o600)):
        before = os.umask(mask)
        try:
            path = tmp_path / f"{mask:o}.safetensors"
            with atomic_path(path) as temporary:
                save_file({"a": torch.zeros(2)}, temporary)
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == mode
    assert sorted(entry.name for entry in tmp_path.iterdir()) == [
        "22.safetensors",
        "27.safetensors",
        "77.safetensors",
    ]


def _refused(tmp_path: Path, kind: str) -> tuple[Path, int]:
    """A path that cannot be written, and the number of the error."""
    if kind == "folder":
        (tmp_path / "a.txt").mkdir()
        return tmp_path / "a.txt", errno.EISDIR
    if kind == "name":
        return tmp_path / ("x" * 300 + ".txt"), errno.ENAMETOOLONG
    (tmp_path / "file").write_text("")
    return tmp_path / "file" / "a.txt", errno.EEXIST


@pytest.mark.parametrize("kind", ["folder", "name", "parent"])
def test_what_the_file_system_refuses_is_named(tmp_path: Path, kind: str) -> None:
    """A traceback without the file's name; a process that dies of an error it cannot send."""
    path, number = _refused(tmp_path, kind)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UnwritableError) as caught, atomic_path(path) as temporary:
        temporary.write_text("x")
    for error in (caught.value, pickle.loads(pickle.dumps(caught.value))):
        assert str(error).startswith(f"{path}: got no file (")
        assert isinstance(error, InputError) and error.errno == number
    assert sorted(tmp_path.rglob("*")) == before


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """The writer's own error, from the middle of the block."""
    path = tmp_path / "a.txt"
    message = r"a.txt: got no file \(No space left on device\)"
    with pytest.raises(InputError, match=message), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert list(tmp_path.iterdir()) == []


def test_input_errors_travel_between_processes() -> None:
    """A pool that breaks because the parent cannot make the error of its process again."""
    error = pickle.loads(pickle.dumps(InputError(Path("a.png"), 3, "4")))
    assert str(error) == "a.png: got 3, expected 4"
