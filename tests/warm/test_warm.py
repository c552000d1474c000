"""A warm Python and the real one do the same with a command."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from warm.python import warm_python

pytestmark = pytest.mark.slow
PROGRAM = """
import os, pathlib, sys
print(__name__, sys.argv[1:], os.getcwd(), os.environ.get("WORD"), sys.path[0], sys.stdin.read())
print(os.path.basename(sys.executable), file=sys.stderr)
if sys.argv[1] == "exit": sys.exit(int(sys.argv[2]))
if sys.argv[1] == "words": sys.exit("what is wrong")
if sys.argv[1] == "signal": os.kill(os.getpid(), int(sys.argv[2]))
if sys.argv[1] == "fault": raise ValueError("a fault")
if sys.argv[1] == "disk": pathlib.Path("large").write_bytes(bytes(5000))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "a program.py"
    path.write_text(PROGRAM)
    return path


def limit() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))


@pytest.mark.parametrize(
    "words",
    [("exit", "0"), ("exit", "3"), ("words",), ("signal", "15"), ("signal", "9"), ("fault",)],
    ids=" ".join,
)
def test_a_command_ends_as_ever(program: Path, words: tuple[str, ...]) -> None:
    """A test that passes because a fork says less, or ends better, than its command would."""
    warm, real = (
        subprocess.run(
            [python, program.name, *words],
            cwd=program.parent,
            env=os.environ | {"WORD": "a word"},
            input="some input",
            capture_output=True,
            text=True,
        )
        for python in (warm_python(), sys.executable)
    )
    assert (warm.returncode, warm.stdout) == (real.returncode, real.stdout)
    assert warm.stderr.splitlines()[-1] == real.stderr.splitlines()[-1] or not real.returncode


def test_a_full_disk_is_that_of_the_command(program: Path) -> None:
    """A limit that holds for the client alone."""
    line = [warm_python(), program, "disk"]
    done = subprocess.run(
        line, cwd=program.parent, stdin=subprocess.DEVNULL, capture_output=True, preexec_fn=limit
    )
    assert done.returncode == 1 and b"File too large" in done.stderr


def test_a_command_ends_with_its_client(tmp_path: Path) -> None:
    """A command that works on after its test."""
    program = tmp_path / "endless.py"
    program.write_text("import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)\n")
    line = [warm_python(), str(program)]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        command = int(client.stdout.readline())
        client.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 20
    while Path(f"/proc/{command}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
