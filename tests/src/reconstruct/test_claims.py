"""Scenes that another run is making: passed over, waited for, made once."""

import threading
import time
from pathlib import Path

from tiny_scene import TinyInput, files_of

from src.io.locks import process_lock
from src.reconstruct.config import File, OutputTree
from src.reconstruct.run import reconstruct


def start(inputs: TinyInput, out: Path) -> threading.Thread:
    """A run in a thread of its own; locks keep threads apart as they do processes."""
    thread = threading.Thread(target=reconstruct, args=(inputs.configure(out),), daemon=True)
    thread.start()
    return thread


def wait_for(path: Path) -> None:
    limit = time.monotonic() + 60
    while not path.is_file():
        assert time.monotonic() < limit, f"no {path}"
        time.sleep(0.01)


def test_a_scene_in_other_hands_comes_last(static_input: TinyInput, tmp_path: Path) -> None:
    """A run that makes what another one is making, fails, stands still, or forgets it."""
    tree = OutputTree(static_input.results(tmp_path))
    with process_lock(tree.path(File.LOCK, 0), "nobody else"):
        run = start(static_input, tmp_path)
        wait_for(tree.path(File.META, 1))
        run.join(0.5)
        assert run.is_alive() and not tree.path(File.META, 0).exists()
    run.join(60)
    assert not run.is_alive() and tree.path(File.META, 0).is_file()
    assert not [name for name in files_of(tree.root) if "/." in name]


def test_a_scene_that_another_run_has_made_stays(static_input: TinyInput, tmp_path: Path) -> None:
    """A finished scene that is made again because it was not finished at the first look."""
    tree = OutputTree(static_input.results(tmp_path / "pair"))
    reconstruct(static_input.configure(tmp_path / "other"))
    other = static_input.results(tmp_path / "other")
    with process_lock(tree.path(File.LOCK, 0), "nobody else"):
        run = start(static_input, tmp_path / "pair")
        wait_for(tree.path(File.META, 1))
        for name in files_of(other):
            if not (tree.root / name).exists():
                (tree.root / name).parent.mkdir(parents=True, exist_ok=True)
                (other / name).rename(tree.root / name)
        # Without locks, the other one of which may be about to go.
        results = [tree.root / name for name in files_of(tree.root) if "/." not in name]
        stamps = {path: path.stat().st_mtime_ns for path in results}
    run.join(60)
    assert not run.is_alive()
    for path, stamp in stamps.items():
        assert path.stat().st_mtime_ns == stamp, path


def test_the_lock_of_a_killed_run_does_not_stay(static_input: TinyInput, tmp_path: Path) -> None:
    """A hidden file beside finished scenes, for ever."""
    tree = OutputTree(static_input.results(tmp_path))
    reconstruct(static_input.configure(tmp_path))
    tree.path(File.LOCK, 0).write_text("process 1 on nowhere")
    reconstruct(static_input.configure(tmp_path))
    assert not tree.path(File.LOCK, 0).exists()
