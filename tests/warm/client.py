"""Asks the server for a command and ends as it ends: `client.py ADDRESS PYTHON ARGUMENT ...`.

Options of the interpreter other than `-u` and `-m` are left to the real one, PYTHON.
"""

import json
import os
import resource
import signal
import socket
import sys
from pathlib import Path


def main() -> None:
    address, python, *line = sys.argv[1:]
    words = line[1:] if line[:1] == ["-u"] else line
    if not words or (words[0].startswith("-") and words[0] != "-m"):
        os.execv(python, [python, *line])
    request = {
        "line": words,
        "cwd": str(Path.cwd()),
        "environment": dict(os.environ),
        "executable": str(Path(address).with_name("python")),
        "file_size": resource.getrlimit(resource.RLIMIT_FSIZE),
    }
    content = json.dumps(request).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        socket.send_fds(server, [len(content).to_bytes(8, "big")], [0, 1, 2])
        server.sendall(content)
        answers = server.makefile()
        child = int(answers.readline())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda number, _: os.kill(child, number))
        code = int(answers.readline())
    if code < 0:
        if -code != signal.SIGKILL:
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
