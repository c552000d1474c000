"""Run a Python program that kills itself at a file event: `at_event.py FOLDER N PAUSE PROGRAM ...`.

The program is the file that a user calls, with its arguments, as `__main__`; an audit hook counts
what it does to files below FOLDER and ends the process with SIGKILL just before event N, or PAUSE
seconds after that, while the program goes on. With N = 0 it lives, and the number of events and
the modules that it imported are written to the file PAUSE. What libraries in C open by
themselves (PyAV, torch) is not counted, but the names that the files then get are.
"""

import json
import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

EVENTS = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def run(line: list[str]) -> None:
    """Run a program with its arguments as `python` does."""
    sys.argv = line
    sys.path[0] = str(Path(line[0]).resolve().parent)
    try:
        runpy.run_path(line[0], run_name="__main__")
    except SystemExit as ended:
        # Commands end with an exit code, also where they succeed.
        if ended.code:
            raise


def run_and_kill(folder: str, number: int, pause: float, line: list[str]) -> None:
    """Run a program and kill it at an event."""
    count = 0

    def act() -> None:
        nonlocal count
        count += 1
        if count == number and pause:
            threading.Timer(pause, os.kill, (os.getpid(), signal.SIGKILL)).start()
        elif count == number:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch(folder, act)
    run(line)


def run_and_report(folder: str, report: str, line: list[str]) -> None:
    """Run a program to its end and tell of its events."""
    events: list[None] = []
    _watch(folder, lambda: events.append(None))
    run(line)
    content = {"events": len(events), "modules": [*sys.modules]}
    Path(report).write_text(json.dumps(content))


def _watch(folder: str, act: Callable[[], object]) -> None:
    """Call `act` before everything that this process does to files of the folder."""
    own = os.getpid()

    def hook(event: str, arguments: tuple) -> None:
        if _changes(event, arguments, folder) and os.getpid() == own:
            act()

    sys.addaudithook(hook)


def _changes(event: str, arguments: tuple, folder: str) -> bool:
    if event == "open":
        path, _, flags = arguments
        return isinstance(flags, int) and bool(flags & WRITES) and _is_below(path, folder)
    if event == "subprocess.Popen":
        return any(_is_below(part, folder) for part in arguments[1])
    return event in EVENTS and _is_below(arguments[0], folder)


def _is_below(path: object, folder: str) -> bool:
    return isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(folder)


if __name__ == "__main__":
    folder, number, pause, *line = sys.argv[1:]
    if number == "0":
        run_and_report(folder, pause, line)
    else:
        run_and_kill(folder, int(number), float(pause), line)
