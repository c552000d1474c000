"""The quickstart as a user starts it: seconds and memory, for a picture and for a video.

Memory is the proportional set size (PSS) of all processes together, its largest value of two
samples a second. The environment must be set up already.
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import torch

from .row import Row

REPOSITORY = Path(__file__).resolve().parents[2]
# Budget in seconds for each input.
INPUTS = {"garden.jpg": 180.0, "bouncing_ball.mp4": 300.0}
MEMORY_BUDGET, INTERVAL = 6.0, 0.5


def run(device: torch.device) -> Iterator[Row]:
    """Yields time and memory of each input; the quickstart chooses its own device."""
    del device
    for name, budget in INPUTS.items():
        with tempfile.TemporaryDirectory() as folder:
            taken, peak = _measure(REPOSITORY / "assets/demo" / name, Path(folder))
        yield Row(name, taken, budget=budget)
        yield Row(f"{name}, memory", peak, "GB", budget=MEMORY_BUDGET)


def _measure(source: Path, folder: Path) -> tuple[float, float]:
    """Returns the seconds of a quickstart and its peak memory in gigabytes."""
    command = ["bash", "scripts/quickstart.sh", str(source)]
    command += ["--output", str(folder / "out"), "--python", sys.executable]
    begin, peak = time.perf_counter(), 0
    with (folder / "log.txt").open("w+") as log:
        process = psutil.Popen(command, cwd=REPOSITORY, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            peak = max(peak, _memory(process))
            time.sleep(INTERVAL)
        taken = time.perf_counter() - begin
        log.seek(0)
        if process.returncode != 0:
            raise RuntimeError(f"the quickstart of {source} failed:\n{log.read()[-2000:]}")
    return taken, peak / 1e9


def _memory(process: psutil.Process) -> int:
    """Returns the bytes of a process and of all its descendants."""
    total = 0
    for part in (process, *process.children(recursive=True)):
        try:
            total += part.memory_full_info().pss
        except psutil.Error:
            # It ended after it was listed.
            continue
    return total
