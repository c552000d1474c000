"""Kills a command at random moments, calls it again until it is done, and compares the results.

What is asked of every job: all outputs equal those of an undisturbed run, nothing that is half
written passes for finished, nothing finished is made again, nothing but outputs is left behind.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Seconds after which a call counts as hanging.
LIMIT = 600
# How many kills come at any moment of a call, imports included; the others come after `begun`.
EARLY = 0.1


@dataclass(frozen=True)
class Job:
    """A command that goes on where a killed one stopped.

    Attributes:
        command: what writes into a folder.
        begun: whether a call has begun to write there.
        finished: what counts as finished in a folder, by name, with the files of each.
        content: the bytes of a file that two runs have in common, such as without times.
        foreign: names of files that may differ or be missing.
    """

    command: Callable[[Path], list[str]]
    begun: Callable[[Path], bool]
    finished: Callable[[Path], Mapping[str, list[Path]]]
    content: Callable[[Path], bytes]
    foreign: tuple[str, ...] = ()


@dataclass
class Tally:
    """What happened."""

    calls: int = 0
    kills: int = 0
    rounds: int = 0
    faults: list[str] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        early = sum(moment < 0 for moment in self.moments)
        text = f"{self.kills} kills in {self.calls} calls, {self.rounds} runs completed"
        text += f", {early} kills before anything was written, {len(self.faults)} faults"
        return "\n".join([text, *self.faults])


def kill_repeatedly(job: Job, folder: Path, times: int, seed: int = 0) -> Tally:
    """Kill a job `times` times, in as many runs as that takes; the last one is completed."""
    draws, tally = random.Random(seed), Tally()
    whole = folder / "whole"
    before, after = _time(job, whole)
    expected = outputs(job, whole)
    while tally.kills < times:
        killed = folder / f"killed-{tally.rounds}"
        seen: dict[str, list[tuple[int, int]]] = {}
        while True:
            early = draws.random() < EARLY
            delay = draws.uniform(0, before if early else after)
            ended = _call(job, killed, delay, early, tally, last=tally.kills >= times)
            _check(job, killed, expected, seen, tally)
            if ended:
                break
        tally.rounds += 1
        found = outputs(job, killed)
        for name in sorted(found.keys() | expected.keys()):
            if found.get(name) != expected.get(name):
                kind = "differs" if found.keys() & expected.keys() >= {name} else "is there once"
                tally.faults.append(f"run {tally.rounds}: {name} {kind}")
    return tally


def outputs(job: Job, folder: Path) -> dict[str, bytes]:
    """All files of a folder, hidden ones included."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    kept = [path for path in paths if path.name not in job.foreign]
    return {str(path.relative_to(folder)): job.content(path) for path in kept}


def _start(job: Job, folder: Path, log: Path) -> subprocess.Popen:
    with log.open("ab") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(
            [sys.executable, *job.command(folder)],
            cwd=REPOSITORY,
            env=environment,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def _time(job: Job, folder: Path) -> tuple[float, float]:
    """Run undisturbed; the seconds until something was written, and from there to the end."""
    log = folder.with_suffix(".log")
    log.parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()
    process = _start(job, folder, log)
    while not job.begun(folder) and process.poll() is None:
        time.sleep(0.005)
    begun = time.monotonic()
    if process.wait(LIMIT):
        raise RuntimeError(f"the undisturbed run failed:\n{log.read_text()[-2000:]}")
    return begun - start, time.monotonic() - begun


def _call(job: Job, folder: Path, delay: float, early: bool, tally: Tally, last: bool) -> bool:
    """One call, killed after `delay` seconds unless it is the last; whether it came to its end."""
    log = folder.with_suffix(".log")
    process = _start(job, folder, log)
    tally.calls += 1
    start = time.monotonic()
    # A folder of an earlier call has been written to; the lock or its like tells of this one.
    while not early and not job.begun(folder) and process.poll() is None:
        time.sleep(0.002)
    try:
        process.wait(LIMIT if last else delay)
    except subprocess.TimeoutExpired:
        if last:
            tally.faults.append(f"{folder.name}: hangs")
        # The workers are left to find out for themselves, as after a kill by the system.
        process.send_signal(signal.SIGKILL)
        process.wait()
        tally.kills += 1
        tally.moments.append(-1.0 if early else time.monotonic() - start)
        return last
    if process.returncode:
        tally.faults.append(f"{folder.name} failed: {log.read_text()[-500:]}")
        return True
    return True


def _check(
    job: Job,
    folder: Path,
    expected: Mapping[str, bytes],
    seen: dict[str, list[tuple[int, int]]],
    tally: Tally,
) -> None:
    """Compare what passes for finished with the undisturbed run, and with what was there before."""
    for name, paths in job.finished(folder).items():
        for path in paths:
            key = str(path.relative_to(folder))
            if key in expected and job.content(path) != expected[key]:
                tally.faults.append(f"{folder.name}: {key} passes for finished and is not")
        # The inode and the time of the last change.
        state = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths]
        if seen.setdefault(name, state) != state:
            tally.faults.append(f"{folder.name}: {name} was finished and is made again")
