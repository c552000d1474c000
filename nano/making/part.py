"""A part of the making: child processes that share a log and end with their parent."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from src.io.json_object import read_json_object
from src.runtime import get_logger
from src.training.loop.interruption import Interrupted, Stopped

from ..evaluation.evaluate import FIGURES

LOGGER = get_logger(__name__)
REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "configs/nano/training"
# Lines of a log that are repeated when a part without output on the terminal fails.
TAIL = 30


class Processes:
    """Child processes, started from any thread."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._ended = threading.Lock(), False

    def run(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str], shown: bool
    ) -> int:
        """Run a command to its end and append its output to a log; returns its exit code.

        Args:
            command: the program and its arguments.
            log: the file.
            environment: variables on top of those of this process.
            shown: repeat the output on standard output.
        """
        with self._lock:
            if self._ended:
                return -signal.SIGTERM
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                # A signal to its group also reaches what the command starts.
                process_group=0,
            )
            self._running.add(process)
        assert process.stdout is not None
        with log.open("ab") as file:
            while chunk := os.read(process.stdout.fileno(), 1 << 16):
                file.write(chunk)
                file.flush()
                if shown:
                    sys.stdout.write(chunk.decode(errors="replace"))
                    sys.stdout.flush()
        code = process.wait()
        self._running.discard(process)
        return code

    def end(self) -> None:
        """Send SIGTERM to all children and wait for them; a training then writes a checkpoint."""
        with self._lock:
            self._ended, running = True, [*self._running]
        for process in running:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in running:
            process.wait()

    def beside(self, works: Sequence[Callable[[], None]]) -> None:
        """Run functions in threads of their own until all have ended.

        Raises:
            Stopped: some of them failed; names all of these.
        """
        with ThreadPoolExecutor(len(works)) as pool:
            futures = [pool.submit(work) for work in works]
            try:
                wait(futures)
            except BaseException:
                # The pool waits for its threads, and these for their children.
                self.end()
                raise
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in errors:
            if not isinstance(error, Stopped):
                raise error
        if errors:
            raise Stopped("; ".join(dict.fromkeys(map(str, errors))))


@contextmanager
def running() -> Iterator[Processes]:
    """Child processes that end with the block.

    Raises:
        Interrupted: SIGTERM or SIGHUP came inside the block.
    """
    own = Processes()

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"stopped ({signal.Signals(number).name})", number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield own
    finally:
        own.end()
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part in progress.

    Attributes:
        name: of the part.
        log: the file for the output of its commands.
        processes: where its commands run.
        python: the interpreter.
        gpus: the names of its GPUs in CUDA_VISIBLE_DEVICES.
        shown: its output also goes to the terminal.
    """

    name: str
    log: Path
    processes: Processes
    python: str = sys.executable
    gpus: Sequence[str] = field(default_factory=lambda: visible_gpus(1))
    shown: bool = True

    @property
    def launch(self) -> list[str]:
        """The start of a command that trains on all GPUs of the part."""
        if len(self.gpus) < 2:
            return [self.python]
        processes = f"--nproc_per_node={len(self.gpus)}"
        return [self.python, "-m", "torch.distributed.run", "--standalone", processes]

    def run(
        self, *command: object, gpus: Sequence[str] | None = None, **environment: object
    ) -> None:
        """Run a command on the part's GPUs (or on `gpus`), with more environment variables.

        Raises:
            Stopped: its exit code is not 0.
        """
        devices = ",".join(self.gpus if gpus is None else gpus)
        variables = {"CUDA_VISIBLE_DEVICES": devices}
        variables |= {key: str(value) for key, value in environment.items()}
        code = self.processes.run([*map(str, command)], self.log, variables, self.shown)
        if code:
            raise Stopped(
                f"FAILED in part {self.name} (exit code {code}), see {self.log}; "
                "the same command goes on"
            )

    def train(self, *words: object, alone: bool = False) -> None:
        """Run train.py on all GPUs of the part, or in one process."""
        self.run(*([self.python] if alone else self.launch), REPOSITORY / "train.py", *words)

    def nano(self, *words: object, gpus: Sequence[str] | None = None) -> None:
        """Run a verb of scripts/nano.py."""
        self.run(self.python, REPOSITORY / "scripts/nano.py", *words, gpus=gpus)

    def timed(self, work: Callable[["Part"], None], minutes: Path) -> None:
        """Do the work of the part in a new log; adds the seconds to the file `minutes`."""
        LOGGER.info("part %s, log: %s", self.name, self.log)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_bytes(b"")
        begin = time.monotonic()
        try:
            work(self)
        except Stopped:
            if not self.shown:
                lines = self.log.read_text(errors="replace").splitlines()[-TAIL:]
                LOGGER.error("the end of %s:\n%s", self.log, "\n".join(lines))
            raise
        line = f"{self.name}: {time.monotonic() - begin:.0f} s"
        LOGGER.info(line)
        with minutes.open("a") as file:
            file.write(f"{line}\n")


def visible_gpus(count: int) -> list[str]:
    """Returns the names of the first `count` visible GPUs; one empty name if they are hidden."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(count)) if visible is None else visible.split(",")
    return [*names][:count]


def has_gpu() -> bool:
    """Whether there is an NVIDIA driver."""
    return shutil.which("nvidia-smi") is not None


def has_weights(folder: Path) -> bool:
    """Whether a folder holds finished weights."""
    if not (folder / "config.json").is_file():
        return False
    LOGGER.info("%s is there", folder)
    return True


def is_evaluated(folder: Path, seeds: int, weights: Sequence[Path]) -> bool:
    """Whether a folder holds an evaluation on `seeds` worlds that is newer than the weights."""
    path = folder / FIGURES
    if not path.is_file() or read_json_object(path)["settings"]["seeds"] != seeds:
        return False
    configs = [each / "config.json" for each in weights]
    made = path.stat().st_mtime
    return all(file.is_file() and file.stat().st_mtime <= made for file in configs)
