"""Ctrl-C as a terminal sends it: a SIGINT to all processes of a command."""

import os
import signal
import subprocess
import time
from pathlib import Path

# Seconds: for the first result, and for the end.
PATIENCE, AT_ONCE = 300, 20


def interrupt(line: list[str], cwd: Path, result: Path) -> subprocess.CompletedProcess[str]:
    """Run a command until a file is there, then send SIGINT; expects an end of all processes."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment = kept | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    process = subprocess.Popen(
        line,
        cwd=cwd,
        env=environment,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + PATIENCE
    while not result.is_file():
        assert process.poll() is None and time.monotonic() < deadline, f"no {result}"
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, said = process.communicate(timeout=AT_ONCE)
        assert _ends(process.pid), "a process stays behind"
    finally:
        if _is_there(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
    return subprocess.CompletedProcess(line, process.returncode, stderr=said)


def _ends(group: int) -> bool:
    deadline = time.monotonic() + AT_ONCE
    while _is_there(group) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not _is_there(group)


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
