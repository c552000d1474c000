"""Forks a process for each command of a client: `server.py LISTENER`; see `python.py`."""

import atexit
import gc
import importlib
import json
import os
import resource
import runpy
import selectors
import signal
import socket
import sys
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from typing import Any

# What commands of this project import from elsewhere.
PACKAGES = ("torch", "torch._dynamo", "torch.distributed.tensor", "jaxtyping", "numpy", "yaml")
PACKAGES += ("av", "PIL.Image", "tqdm", "accelerate", "scipy.spatial", "safetensors.torch")
CLASSES = ("AutoencoderKLCosmos", "CosmosTransformer3DModel")


class Server:
    """Clients that wait, each with the process that runs its command."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.selector = selectors.DefaultSelector()
        self.selector.register(listener, selectors.EVENT_READ, self._start)
        self.selector.register(0, selectors.EVENT_READ, self._leave)
        self.clients: dict[int, socket.socket] = {}

    def run(self) -> None:
        """Serve until standard input is closed."""
        while True:
            for key, _ in self.selector.select():
                key.data()

    def _leave(self) -> None:
        for child in self.clients:
            _kill(child)
        os._exit(0)

    def _start(self) -> None:
        client, _ = self.listener.accept()
        header, streams, _, _ = socket.recv_fds(client, 8, 3)
        with client.makefile("rb") as reader:
            request = json.loads(reader.read(int.from_bytes(header, "big")))
        child = os.fork()
        if not child:
            for held in (self.selector, self.listener, client, *self.clients.values()):
                held.close()
            _run_as_command(request, streams)
        for stream in streams:
            os.close(stream)
        self.clients[child] = client
        client.sendall(f"{child}\n".encode())
        ended = os.pidfd_open(child)
        self.selector.register(ended, selectors.EVENT_READ, lambda: self._answer(child, ended))
        self.selector.register(client, selectors.EVENT_READ, lambda: self._abandon(child))

    def _abandon(self, child: int) -> None:
        """A client that was killed takes its command with it."""
        self.selector.unregister(self.clients[child])
        _kill(child)

    def _answer(self, child: int, ended: int) -> None:
        _, status = os.waitpid(child, 0)
        self.selector.unregister(ended)
        os.close(ended)
        with self.clients.pop(child) as client, suppress(KeyError, BrokenPipeError):
            # Neither is possible after `_abandon`.
            self.selector.unregister(client)
            client.sendall(f"{os.waitstatus_to_exitcode(status)}\n".encode())


def _kill(child: int) -> None:
    """End a command with all its processes."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        # It has no session of its own yet.
        os.kill(child, signal.SIGKILL)


def _run_as_command(request: dict[str, Any], streams: list[int]) -> None:
    """Become the command and leave the process."""
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    resource.setrlimit(resource.RLIMIT_FSIZE, tuple(request["file_size"]))
    code = 1
    try:
        _run(request["line"], request["executable"])
        code = 0
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            code = int(end.code or 0) & 0xFF
        else:
            sys.stderr.write(f"{end.code}\n")
    except BaseException:
        traceback.print_exc()
    finally:
        try:
            threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue]
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)


def _run(line: list[str], executable: str) -> None:
    """Run a file or a module (`-m`) with its arguments."""
    sys.executable = executable
    words = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[1:1] = [str(Path(word).absolute()) for word in words if word]
    if line[0] == "-m":
        sys.path[0] = str(Path.cwd())
        sys.argv = line[1:]
        runpy.run_module(line[1], run_name="__main__", alter_sys=True)
        return
    sys.path[0] = str(Path(line[0]).resolve().parent)
    sys.argv = line
    runpy.run_path(line[0], run_name="__main__")


def main() -> None:
    """Import, then serve."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    for name in PACKAGES:
        importlib.import_module(name)
    diffusers = importlib.import_module("diffusers")
    for name in CLASSES:
        getattr(diffusers, name)
    # Forks then share the pages of what was imported.
    gc.freeze()
    Server(listener).run()


if __name__ == "__main__":
    main()
