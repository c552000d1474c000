"""Starts a command: in a process of its own, or in a fork of one that has imported its modules.

A fork runs the same file as `__main__`, with the same arguments, in a session of its own; it only
saves the seconds of the imports.
"""

import atexit
import importlib
import os
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from kills.at_event import run, run_and_kill

REPOSITORY = Path(__file__).resolve().parents[2]
AT_EVENT = Path(__file__).with_name("at_event.py")
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
# The arguments of `at_event`: folder, number, and pause or report.
Event = tuple[str, int, float | str]


class Process(Protocol):
    """What is asked of a process that was started."""

    pid: int
    # None until the end was noticed; negative for a signal.
    returncode: Any

    def poll(self) -> int | None:
        """The return code of a process that has ended."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; `subprocess.TimeoutExpired` when it does not come."""
        ...

    def kill(self) -> None:
        """Send SIGKILL."""
        ...


class Forked:
    """A fork of this process that runs a command."""

    def __init__(self, line: list[str], log: Path, event: Event | None) -> None:
        """Fork; `event` is the folder, the number and the pause of `at_event`."""
        self.returncode: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _run_as_command(line, log, event)

    def poll(self) -> int | None:
        """The return code of a process that has ended."""
        if self.returncode is None:
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end; `subprocess.TimeoutExpired` when it does not come."""
        start = time.monotonic()
        while (code := self.poll()) is None:
            if timeout is not None and time.monotonic() - start > timeout:
                raise subprocess.TimeoutExpired("fork", timeout)
            time.sleep(0.002)
        return code

    def kill(self) -> None:
        """Send SIGKILL."""
        os.kill(self.pid, 9)


def start(line: list[str], log: Path, event: Event | None = None, fork: bool = False) -> Process:
    """Start a Python file with its arguments, to be killed at an event if one is given."""
    log.parent.mkdir(parents=True, exist_ok=True)
    if fork:
        return Forked(line, log, event)
    prefix = [] if event is None else [str(AT_EVENT), *map(str, event)]
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, *prefix, *line],
            cwd=REPOSITORY,
            env={**os.environ, **ENVIRONMENT},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def import_for_forks(names: Sequence[str]) -> None:
    """Import what a command imports, as far as names in `sys.modules` can be imported."""
    assert ENVIRONMENT.items() <= os.environ.items(), f"forks need {ENVIRONMENT}"
    for name in names:
        # Some names stand for objects that other modules put there.
        if name.split(".")[0] not in ("__main__", "__mp_main__"):
            with suppress(ImportError):
                importlib.import_module(name)


def _run_as_command(line: list[str], log: Path, event: Event | None) -> None:
    code = 1
    try:
        os.setsid()
        os.chdir(REPOSITORY)
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(descriptor, 1)
        os.dup2(descriptor, 2)
        if event is None:
            run(line)
        else:
            folder, number, pause = event
            run_and_kill(folder, number, float(pause), line)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        sys.stdout.flush()
        os._exit(code)
