"""A Python that starts commands in forks of a process that has imported torch and diffusers.

A command of this project spends four of its five seconds on these imports. Such a fork has the
arguments, folder, environment, streams, file size limit and exit status of the command, and runs
its file as `__main__`; modules of the project are imported by each fork. Every command is started
by the real interpreter in one test or more; so are those that a test kills or interrupts.
"""

import atexit
import os
import shlex
import socket
import stat
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

HERE = Path(__file__).resolve().parent
SCRIPT = """#!/bin/sh
exec {python} -E -s -S {client} {address} {python} "$@"
"""


@cache
def warm_python() -> str:
    """The path of such an interpreter; the real one where forks are not safe (with a GPU)."""
    import torch

    if torch.cuda.is_available() or not hasattr(os, "pidfd_open"):
        return sys.executable
    # The path of a socket has to be short.
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    address = Path(folder.name) / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen(64)
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        server = subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), str(listener.fileno())],
            env=kept | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            # It ends when this process has ended and the pipe is closed.
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
        )
    atexit.register(_end, server, folder)
    script = Path(folder.name) / "python"
    words = {"python": sys.executable, "client": HERE / "client.py", "address": address}
    script.write_text(SCRIPT.format(**{key: shlex.quote(str(word)) for key, word in words.items()}))
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return str(script)


def _end(server: subprocess.Popen, folder: tempfile.TemporaryDirectory) -> None:
    assert server.stdin is not None
    server.stdin.close()
    server.wait()
    folder.cleanup()
