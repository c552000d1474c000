"""A part of the making: commands that share a log, and end with the process that started them."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from src.io.json_object import read_json_object
from src.runtime import get_logger
from src.training.loop.interruption import Interrupted, Stopped

from ..evaluation.evaluate import FIGURES

LOGGER = get_logger(__name__)
REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = REPOSITORY / "configs/nano/training"
# Last lines of a log that are repeated after a failure that the terminal has not shown.
TAIL = 30


class Processes:
    """Child processes, started from any thread."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock, self._ended = threading.Lock(), False

    def run(
        self, command: Sequence[str], log: Path, variables: Mapping[str, str], shown: bool
    ) -> int:
        """Run a command to its end, its output in the log (if `shown`: also on the terminal)."""
        with self._lock:
            if self._ended:
                return -signal.SIGTERM
            # In a process group of its own: a signal also reaches what the command starts.
            process = subprocess.Popen(
                command,
                env={**os.environ, **variables},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                process_group=0,
            )
            self._running.add(process)
        assert process.stdout is not None
        with log.open("ab", buffering=0) as file:
            while chunk := os.read(process.stdout.fileno(), 1 << 16):
                file.write(chunk)
                if shown:
                    sys.stdout.write(chunk.decode(errors="replace"))
                    sys.stdout.flush()
        return process.wait()

    def end(self) -> None:
        """End all children with SIGTERM, at which a training writes a checkpoint."""
        with self._lock:
            self._ended = True
        for process in self._running:
            if process.poll() is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
        for process in self._running:
            process.wait()

    def beside(self, works: Sequence[Callable[[], None]]) -> None:
        """Call functions in threads of their own until all have ended; raises `Stopped`."""
        with ThreadPoolExecutor(len(works)) as pool:
            futures = list[Future[None]]()
            try:
                for work in works:
                    futures.append(pool.submit(work))
                wait(futures)
            finally:
                # Leaving the pool waits for its threads, and these for their commands.
                if len(futures) < len(works) or not all(future.done() for future in futures):
                    self.end()
        reasons = []
        for future in futures:
            try:
                future.result()
            except Stopped as error:
                reasons.append(str(error))
        if reasons:
            raise Stopped("; ".join(dict.fromkeys(reasons)))


@contextmanager
def running() -> Iterator[Processes]:
    """Child processes that end with the block; SIGTERM and SIGHUP raise `Interrupted` in it."""
    processes = Processes()

    def stop(number: int, frame: FrameType | None) -> None:
        raise Interrupted(f"stopped ({signal.Signals(number).name})", number)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield processes
    finally:
        processes.end()
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True, kw_only=True)
class PartRun:
    """A part in progress: `gpus` are names for CUDA_VISIBLE_DEVICES, `python` its interpreter."""

    name: str
    log: Path
    processes: Processes
    python: str
    gpus: Sequence[str]
    shown: bool = True

    @property
    def launch(self) -> list[str]:
        """The start of a command that trains on all GPUs of the part."""
        if len(self.gpus) < 2:
            return [self.python]
        processes = f"--nproc_per_node={len(self.gpus)}"
        return [self.python, "-m", "torch.distributed.run", "--standalone", processes]

    def run(
        self, command: Sequence[object], gpus: Sequence[str] | None = None, **variables: object
    ) -> None:
        """Run a command on the part's GPUs or on `gpus`; raises `Stopped` if it fails."""
        variables["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus if gpus is None else gpus)
        environment = {name: str(value) for name, value in variables.items()}
        code = self.processes.run([*map(str, command)], self.log, environment, self.shown)
        if code:
            said = f"FAILED in part {self.name} (exit code {code}), see {self.log}"
            raise Stopped(f"{said}; the same command goes on")

    def train(self, words: Sequence[object], launch: Sequence[str] | None = None) -> None:
        """Run train.py, in one process if no other `launch` is given."""
        self.run([*(launch or [self.python]), REPOSITORY / "train.py", *words])

    def nano(self, words: Sequence[object], gpus: Sequence[str] | None = None) -> None:
        """Run a verb of scripts/nano.py."""
        self.run([self.python, REPOSITORY / "scripts/nano.py", *words], gpus=gpus)

    def timed(self, work: Callable[["PartRun"], None]) -> None:
        """Do the work of the part with a new log; adds its seconds to minutes.txt beside it."""
        LOGGER.info("part %s, log: %s", self.name, self.log)
        self.log.write_bytes(b"")
        begin = time.monotonic()
        try:
            work(self)
        except Stopped:
            if not self.shown:
                lines = self.log.read_text(errors="replace").splitlines()[-TAIL:]
                LOGGER.error("the end of %s:\n%s", self.log, "\n".join(lines))
            raise
        with self.log.with_name("minutes.txt").open("a") as file:
            file.write(f"{self.name}: {time.monotonic() - begin:.0f} s\n")


def visible_gpus(count: int) -> list[str]:
    """Returns the names of the first `count` visible GPUs; one empty name if they are hidden."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = map(str, range(count)) if visible is None else visible.split(",")
    return [*names][:count]


def has_gpu() -> bool:
    """Whether there is an NVIDIA driver."""
    return shutil.which("nvidia-smi") is not None


def has_weights(folder: Path) -> bool:
    """Whether a folder holds finished weights, which the log then says."""
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
