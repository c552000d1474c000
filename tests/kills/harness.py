"""Kills a command at random moments, calls it again until it is done, and compares the results.

What is asked of every job: all outputs equal those of an undisturbed run, nothing that is half
written passes for finished, nothing finished is made again, nothing but outputs is left behind, be
it a file or a process.

Moments are of three kinds: any moment of a call, imports included; some time after the call's
first change to a file; and just before, or shortly after, one of the call's file events.
"""

import json
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from kills.starting import Event, Process, import_for_forks, start
from processes import living

Kind = Literal["any moment", "delay", "event"]
Seen = dict[str, list[tuple[int, int]]]

# Seconds after which a call counts as hanging, and after which a process counts as orphaned.
LIMIT, LAST_GASP = 600, 10
KINDS: tuple[Kind, ...] = ("any moment", "delay", "event")
SHARES = (0.1, 0.4, 0.5)
# Half of the kills at events come up to so many seconds later.
PAUSE = 0.03


@dataclass(frozen=True)
class KilledJob:
    """A command that goes on where a killed one stopped.

    Attributes:
        command: what writes into a folder: a Python file and its arguments.
        finished: what counts as finished in a folder, by name, with the files of each.
        content: the bytes of a file that two runs have in common, such as without times.
        foreign: names of files that may differ or be missing.
    """

    command: Callable[[Path], list[str]]
    finished: Callable[[Path], Mapping[str, list[Path]]]
    content: Callable[[Path], bytes]
    foreign: tuple[str, ...] = ()


@dataclass(frozen=True)
class Whole:
    """An undisturbed run: its outputs, seconds before and after the first change, file events."""

    outputs: dict[str, bytes]
    finished: int
    before: float
    after: float
    events: int


@dataclass
class Tally:
    """What happened."""

    seed: int = 0
    fork: bool = False
    whole: Whole | None = None
    calls: int = 0
    rounds: int = 0
    faults: list[str] = field(default_factory=list)
    # Kind and phase of every kill.
    moments: list[tuple[Kind, str]] = field(default_factory=list)
    sessions: list[int] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """How many kills came before the end of a call."""
        return len(self.moments)

    def __str__(self) -> str:
        kinds = Counter(kind for kind, _ in self.moments)
        phases = Counter(phase for _, phase in self.moments)
        text = f"seed {self.seed}: {self.kills} kills in {self.calls} calls, "
        text += f"{self.rounds} runs completed, {len(self.faults)} faults"
        text += ", kinds other than any moment in forks" if self.fork else ""
        moments = ", ".join(f"{kinds[kind]} {kind}" for kind in KINDS)
        moments += "; " + ", ".join(
            f"{phases[phase]} {phase} writing" for phase in ("before", "during", "after")
        )
        lines = [text, f"moments: {moments}", *self.faults]
        if self.whole is not None:
            whole = self.whole
            lines[1:1] = [
                f"undisturbed: {whole.before:.1f} s to the first change, {whole.after:.1f} s more, "
                f"{whole.events} file events, {len(whole.outputs)} files"
            ]
        return "\n".join(lines)


def kill_repeatedly(
    job: KilledJob, folder: Path, times: int, seed: int = 0, fork: bool = False
) -> Tally:
    """Kill a job `times` times, in as many runs as that takes; the last one is completed.

    With `fork` only calls that are killed at any moment are processes of their own, and the others
    forks of this one; see `starting`.
    """
    draws, tally = random.Random(seed), Tally(seed, fork)
    whole = tally.whole = _undisturbed(job, folder / "whole", fork)
    while tally.kills < times:
        killed = folder / f"killed-{tally.rounds}"
        seen: Seen = {}
        while True:
            last = tally.kills >= times
            ended = _call(job, killed, None if last else draws, whole, tally)
            _check(job, killed, whole.outputs, seen, tally)
            if ended:
                break
        tally.rounds += 1
        found = outputs(job, killed)
        for name in sorted(found.keys() | whole.outputs.keys()):
            if found.get(name) != whole.outputs.get(name):
                both = found.keys() & whole.outputs.keys() >= {name}
                tally.faults.append(
                    f"{killed.name}: {name} {'differs' if both else 'is there once'}"
                )
        _wait_for_orphans(tally)
    return tally


def outputs(job: KilledJob, folder: Path) -> dict[str, bytes]:
    """All files of a folder, hidden ones included."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    kept = [path for path in paths if path.name not in job.foreign]
    return {str(path.relative_to(folder)): job.content(path) for path in kept}


def _undisturbed(job: KilledJob, folder: Path, fork: bool) -> Whole:
    """Run to the end; the times and the events of that, the later time of a fork if wanted."""
    report = folder.with_suffix(".json")
    before, after = _time(job, folder, (str(folder), 0, str(report)))
    told = json.loads(report.read_text())
    if fork:
        import_for_forks(told["modules"])
        _, after = _time(job, folder.with_name("forked"), None, fork=True)
    return Whole(outputs(job, folder), len(job.finished(folder)), before, after, told["events"])


def _time(
    job: KilledJob, folder: Path, event: Event | None, fork: bool = False
) -> tuple[float, float]:
    """Seconds of a run until its first change, and from there to the end."""
    log, begin = folder.with_suffix(".log"), time.monotonic()
    process = start(job.command(folder), log, event, fork)
    _wait_for_change(process, folder, {})
    begun = time.monotonic()
    if process.wait(LIMIT):
        raise RuntimeError(f"the undisturbed run failed:\n{log.read_text()[-2000:]}")
    return begun - begin, time.monotonic() - begun


def _call(
    job: KilledJob, folder: Path, draws: random.Random | None, whole: Whole, tally: Tally
) -> bool:
    """One call, killed at a moment that is drawn, if any; whether it came to its end."""
    before, event = _state(folder), None
    kind, delay = KINDS[1], float(LIMIT)
    if draws is not None:
        kind = draws.choices(KINDS, SHARES)[0]
        if kind == "event":
            pause = draws.choice((0.0, draws.uniform(0, PAUSE)))
            event = (str(folder), draws.randint(1, whole.events), pause)
        else:
            delay = draws.uniform(0, whole.after if kind == "delay" else whole.before)
    fork = tally.fork and kind != "any moment"
    process = start(job.command(folder), folder.with_suffix(".log"), event, fork)
    tally.calls += 1
    tally.sessions.append(process.pid)
    if kind == "delay" and draws is not None:
        _wait_for_change(process, folder, before)
    if not _ends(process, delay) and delay == LIMIT:
        tally.faults.append(f"{folder.name}: hangs")
        return True
    killed = process.returncode == -signal.SIGKILL
    if killed:
        phase = "before" if _state(folder) == before else "during"
        phase = "after" if len(job.finished(folder)) >= whole.finished else phase
        tally.moments.append((kind, phase))
    elif process.returncode:
        said = folder.with_suffix(".log").read_text()
        tally.faults.append(f"{folder.name} failed: {said[-500:]}")
    return not killed


def _ends(process: Process, delay: float) -> bool:
    """Wait for the end, or kill after `delay` seconds; whether there was no need to."""
    try:
        process.wait(delay)
    except subprocess.TimeoutExpired:
        # The workers are left to find out for themselves, as after a kill by the system.
        process.kill()
        process.wait()
        return False
    return True


def _wait_for_change(process: Process, folder: Path, before: Mapping) -> None:
    """Wait until a call has changed something, or has ended."""
    while _state(folder) == before and process.poll() is None:
        time.sleep(0.004)


def _state(folder: Path) -> dict[Path, tuple[int, int]]:
    """Inode and time of the last change of everything in a folder."""
    state = {}
    for path in folder.rglob("*"):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue
        state[path] = (found.st_ino, found.st_mtime_ns)
    return state


def _check(
    job: KilledJob, folder: Path, expected: Mapping[str, bytes], seen: Seen, tally: Tally
) -> None:
    """Compare what passes for finished with the undisturbed run, and with what was there before."""
    finished = job.finished(folder)
    for name, paths in finished.items():
        for path in paths:
            key = str(path.relative_to(folder))
            if key in expected and job.content(path) != expected[key]:
                tally.faults.append(f"{folder.name}: {key} passes for finished and is not")
        # The inode and the time of the last change.
        state = [(path.stat().st_ino, path.stat().st_mtime_ns) for path in paths]
        if seen.setdefault(name, state) != state:
            tally.faults.append(f"{folder.name}: {name} was finished and is made again")
            seen[name] = state


def _wait_for_orphans(tally: Tally) -> None:
    """Expect the end of all processes that calls left behind."""
    deadline = time.monotonic() + LAST_GASP
    while left := [pid for pid in tally.sessions if living(pid, "session")]:
        if time.monotonic() > deadline:
            tally.faults += [f"orphan of call {pid}: {living(pid, 'session')}" for pid in left]
            break
        time.sleep(0.1)
    tally.sessions.clear()
