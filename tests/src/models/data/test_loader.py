"""Batches over ranks, epochs and restarts, and scenes that cannot be read."""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import living

from src.models.data.dataset import ClipDataset
from src.models.data.loader import ExampleLoader, scene_batches
from src.models.data.reading import ReadingConfig
from src.models.data.registry import DatasetSpec
from src.models.data.sampling import ExampleSamplingConfig
from src.runtime import InputError
from src.tokenizer.cosmos import LatentStatistics

REPOSITORY = Path(__file__).resolve().parents[4]


def build(root: Path, statistics: LatentStatistics, skip: bool = False) -> ClipDataset:
    reading = ReadingConfig(skip_unreadable=skip)
    sampling = ExampleSamplingConfig(num_input_frames=9, num_targets=2, max_trajectories=3)
    spec = DatasetSpec(root, True)
    return ClipDataset(spec, sampling, (16, 32), "train", "all", statistics, reading)


def told(batch: list) -> list[tuple]:
    """What tells examples apart."""
    return [(e.key, e.trajectories, tuple(e.targets.frame.tolist())) for e in batch]


@pytest.mark.parametrize(("scenes", "batch", "world"), [(10, 2, 1), (7, 2, 3), (3, 4, 2)])
def test_every_epoch_has_every_scene_once(scenes: int, batch: int, world: int) -> None:
    """Would catch scenes that two ranks share, or that are dropped with the last batch."""
    streams = [
        scene_batches(scenes, batch, seed=42, rank=r, world_size=world) for r in range(world)
    ]
    draws = [draw for _ in range(21) for stream in streams for draw in next(stream)]
    for epoch in range(len(draws) // scenes):
        part = draws[epoch * scenes : (epoch + 1) * scenes]
        assert sorted(draw.index for draw in part) == list(range(scenes))
        assert {draw.epoch for draw in part} == {epoch}
    orders = {tuple(d.index for d in draws[e * scenes : (e + 1) * scenes]) for e in range(4)}
    assert len(orders) > 1


def test_two_ranks_see_what_one_with_twice_the_batch_does() -> None:
    """Would catch a result that depends on the number of processes."""
    one = scene_batches(11, 4, seed=3)
    two = [scene_batches(11, 2, seed=3, rank=rank, world_size=2) for rank in range(2)]
    for whole, *parts in islice(zip(one, *two, strict=True), 30):
        assert whole == parts[0] + parts[1]


def test_a_stream_goes_on_where_it_stopped() -> None:
    """Would catch a restart at the beginning of an epoch."""
    whole = list(islice(scene_batches(5, 3, seed=1), 20))
    assert list(islice(scene_batches(5, 3, seed=1, position=13), 7)) == whole[13:]
    assert whole != list(islice(scene_batches(5, 3, seed=2), 20))


@pytest.mark.slow
def test_workers_change_nothing(static_clips: Any, statistics: LatentStatistics) -> None:
    """Would catch examples that depend on who reads them, and positions counted when prefetched."""
    dataset = build(static_clips.root, statistics)
    alone = ExampleLoader(dataset, 2)
    expected = [told(batch) for batch in islice(alone, 6)]
    assert alone.position == 6
    workers = ExampleLoader(dataset, 2, num_workers=2)
    assert [told(batch) for batch in islice(workers, 4)] == expected[:4]
    assert workers.position == 4
    resumed = ExampleLoader(dataset, 2, num_workers=1, position=workers.position)
    assert [told(batch) for batch in islice(resumed, 2)] == expected[4:]


@pytest.mark.gpu
def test_batches_wait_in_page_locked_memory(
    static_clips: Any, statistics: LatentStatistics
) -> None:
    """Copies that stop the host, and pictures that are still on their way when they are used."""
    dataset = build(static_clips.root, statistics)
    for workers in (0, 2):
        batch = next(iter(ExampleLoader(dataset, 2, num_workers=workers)))
        for example, expected in zip(batch, next(iter(scene_batches(2, 2, seed=42))), strict=True):
            read = dataset[expected]
            pairs = [(example.latents, read.latents), (example.targets.color, read.targets.color)]
            moved = example.to("cuda")
            pairs += [(moved.latents, read.latents), (moved.targets.color, read.targets.color)]
            for found, wanted in pairs:
                assert found is not None and wanted is not None
                assert found.is_cuda or found.is_pinned()
                assert torch.equal(found.cpu(), wanted)
            assert torch.equal(moved.to("cpu").targets.frame, read.targets.frame)


def test_a_loader_goes_on_where_it_stopped(static_clips: Any, statistics: LatentStatistics) -> None:
    """Would catch a second iteration that starts at the old position."""
    dataset = build(static_clips.root, statistics)
    expected = [told(batch) for batch in islice(ExampleLoader(dataset, 2), 5)]
    loader = ExampleLoader(dataset, 2)
    assert [told(batch) for batch in islice(loader, 2)] == expected[:2]
    assert [told(batch) for batch in islice(loader, 3)] == expected[2:]


@pytest.fixture
def damaged(tmp_path: Path, static_clips: Any) -> Path:
    """Of the scenes 2 and 10 the latents of 2 are cut short."""
    root = tmp_path / "clips"
    shutil.copytree(static_clips.root, root)
    for name in ("0", "1", "2"):
        path = root / name / "latent/2.pkl"
        path.write_bytes(path.read_bytes()[:-40])
    return root


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_unreadable_scene_is_raised_or_skipped_and_counted(
    damaged: Path, statistics: LatentStatistics, caplog: pytest.LogCaptureFixture, num_workers: int
) -> None:
    """Would catch another scene in its place, silence, and an error that lost its path."""
    with pytest.raises(InputError, match=r"latent/2\.pkl"):
        build(damaged, statistics)
    dataset = build(damaged, statistics, skip=True)
    with caplog.at_level(logging.WARNING):
        batches = list(islice(ExampleLoader(dataset, 1, num_workers), 4))
    assert [[example.key for example in batch] for batch in batches] == [["10"]] * 4
    assert list(dataset.skipped) == ["2"] and "2.pkl" in dataset.skipped["2"]
    assert sum("'2' is left out" in message for message in caplog.messages) == 1
    dataset.reading.skip_unreadable = False
    with pytest.raises(InputError, match=r"latent/2\.pkl"):
        list(islice(ExampleLoader(dataset, 1, num_workers), 4))


def test_nothing_readable_is_an_error(damaged: Path, statistics: LatentStatistics) -> None:
    """Would catch a loader that searches for ever."""
    for name in ("0", "1", "2"):
        (damaged / name / "latent/10.pkl").unlink()
    dataset = build(damaged, statistics, skip=True)
    with pytest.raises(InputError, match="0 of 2 scenes readable"):
        next(iter(ExampleLoader(dataset, 1)))


# Is killed while its workers start, which takes them a second.
KILLED = """
import os, signal, threading, time
from types import SimpleNamespace
from src.models.data.loader import ExampleLoader

class Scenes:
    reading, keys = SimpleNamespace(seed=0), ["0"]
    def __len__(self): return 4

os.register_at_fork(after_in_child=lambda: time.sleep(1))
threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGKILL)).start()
next(iter(ExampleLoader(Scenes(), 2, num_workers=2)))
"""


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_a_worker_ends_whose_parent_is_killed_while_it_starts() -> None:
    """Would catch an orphan that waits for ever: torch looks for its parent later."""
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED], cwd=REPOSITORY, start_new_session=True
    )
    assert process.wait(timeout=60) == -signal.SIGKILL
    begin = time.monotonic()
    assert living(process.pid, "session")
    try:
        while living(process.pid, "session"):
            assert time.monotonic() - begin < 60, "a worker does not end"
            time.sleep(0.1)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


# Reads with workers and fails in the middle; `keep` holds the frame, as a traceback does.
FAILING = """
import os, resource, signal, sys, time
from types import SimpleNamespace
from src.models.data.loader import ExampleLoader

class Scenes:
    reading, keys = SimpleNamespace(seed=0), ["0"]
    def __len__(self): return 4
    def try_read(self, draw): return bytes(1000)
    def accept(self, result): return result

def fail(kind):
    if kind == "error":
        raise RuntimeError("CUDA out of memory")
    if kind == "memory":
        resource.setrlimit(resource.RLIMIT_AS, (2**20, resource.RLIM_INFINITY))
        bytearray(2**30)
    if kind == "interrupt":
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)
    sys.exit("one line")

batches = iter(ExampleLoader(Scenes(), 2, num_workers=2))
next(batches)
fail(sys.argv[1])
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["error", "memory", "interrupt", "exit"])
def test_a_failing_process_ends_with_its_workers(kind: str) -> None:
    """Would catch workers that ignore the one signal at exit, for which the process then waits."""
    process = subprocess.Popen(
        [sys.executable, "-c", FAILING, kind],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        _, said = process.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        pytest.fail("the process does not end")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    expected = {"error": "CUDA out of memory", "memory": "MemoryError", "exit": "one line"}
    assert process.returncode != 0
    assert expected.get(kind, "KeyboardInterrupt") in said.splitlines()[-1], said
