"""Commands that are run one after the other and measured; what ended well is not run again."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from src.io.atomic import atomic_path
from src.io.json_object import read_json_object

POLL_SECONDS = 0.25
QUERY = ("nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits")


@dataclass(frozen=True)
class Step:
    """A command by name; `check` looks at what it wrote and returns figures, or raises."""

    name: str
    command: list[str]
    check: Callable[[], Mapping[str, object]] = dict


@dataclass(frozen=True)
class StepCosts:
    """How a step went. Memory in GiB: of the largest process, and of all GPUs by nvidia-smi."""

    command: str
    status: int
    seconds: float
    host_gib: float
    gpu_gib: float | None
    found: Mapping[str, object]
    problem: str = ""

    @property
    def good(self) -> bool:
        return self.status == 0 and not self.problem


class Measurements:
    """The measured steps, in one JSON file, which has a log beside it for each."""

    def __init__(self, path: Path, folder: Path, environment: Mapping[str, str]) -> None:
        """Go on with what is in `path`; commands run in `folder`."""
        self.path, self.folder, self.environment = path, folder, environment
        self.results: dict[str, object] = dict(read_json_object(path)) if path.is_file() else {}

    def run(self, step: Step, longest: float) -> bool:
        """Run a step that has not ended well before; returns whether it has now."""
        earlier = self.results.get(step.name)
        if isinstance(earlier, dict) and earlier.get("good"):
            sys.stderr.write(f"{step.name}: done before\n")
            return True
        measured = self._measure(step, longest)
        self.results[step.name] = asdict(measured) | {"good": measured.good}
        with atomic_path(self.path) as temporary:
            temporary.write_text(json.dumps(self.results, indent=1, default=str) + "\n")
        memory = f"{measured.host_gib:.1f} GiB of the host, {measured.gpu_gib} GiB of the GPU"
        words = "good" if measured.good else f"FAILED ({measured.status}) {measured.problem}"
        sys.stderr.write(f"{step.name}: {measured.seconds:.1f} s, {memory}, {words}\n")
        return measured.good

    def _measure(self, step: Step, longest: float) -> StepCosts:
        log = self.path.with_name(f"{self.path.stem}-{step.name}.log")
        log.parent.mkdir(parents=True, exist_ok=True)
        begun = time.monotonic()
        with log.open("w") as output, _GpuMemory() as gpu:
            process = subprocess.Popen(
                step.command,
                cwd=self.folder,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            timer = threading.Timer(longest, os.killpg, (process.pid, signal.SIGKILL))
            timer.start()
            # Of this child and its own, unlike the figures of all children so far.
            _, status, used = os.wait4(process.pid, 0)
            timer.cancel()
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds, host = time.monotonic() - begun, used.ru_maxrss / 2**20
        found: Mapping[str, object] = {}
        problem = "" if process.returncode == 0 else log.read_text()[-3000:]
        if not problem:
            try:
                found = step.check()
            # A report of all steps is wanted, whatever one of them left.
            except (AssertionError, OSError, ValueError) as error:
                problem = f"what it wrote: {type(error).__name__}: {error}"
        command = " ".join(step.command)
        return StepCosts(command, process.returncode, seconds, host, gpu.peak_gib, found, problem)


class _GpuMemory:
    """The most memory that was in use on all GPUs together, polled while it is open."""

    def __init__(self) -> None:
        self.peak_gib: float | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll, daemon=True)

    def __enter__(self) -> "_GpuMemory":
        if shutil.which(QUERY[0]):
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _poll(self) -> None:
        while not self._over.wait(POLL_SECONDS):
            done = subprocess.run(QUERY, capture_output=True, text=True)
            values = [float(word) for word in done.stdout.split() if word.isdigit()]
            if values:
                self.peak_gib = max(self.peak_gib or 0.0, sum(values) / 1024)
