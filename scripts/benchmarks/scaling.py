"""Samples a second of the decoder's training on one GPU and on two, a batch on each.

`train.py` under torchrun, a published stage at full size with random weights (on a CPU two small
processes, whose ratio says nothing). Variables: `SCALING_STAGE` (5: one trajectory of 121 frames;
7: six), `SCALING_STEPS` (10), `SCALING_LAUNCHES` (empty): launches of `configs/accelerate` that two
processes also train with, "fsdp2 deepspeed_zero2" for example. Their first losses are compared with
those of two ordinary processes (DDP), which start from the same weights and see the same scenes.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch

from src.training.loop.journal import read_journal

from .inputs import FULL, TINY, write_decoder
from .row import Row
from .training import DEFAULTS, StageCase, configure, settings, stage_file, write_inputs

# Kernels compile in the first step; the second one finds the allocator's memory in place.
WARM_UP, BUDGETS = 3, {5: 1.85, 7: 1.9}
LONGEST_RUN = 240


def run(device: torch.device) -> Iterator[Row]:
    """Yields samples a second with one process and with two, and their ratio."""
    size = FULL if device.type == "cuda" else TINY
    stage = int(os.environ.get("SCALING_STAGE", "5"))
    launches = os.environ.get("SCALING_LAUNCHES", "").split()
    case = StageCase(stage, WARM_UP + int(os.environ.get("SCALING_STEPS", "10")))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_inputs(folder, size)
        write_decoder(folder / f"decoder_{stage}", configure(folder, case, size).decoder)
        given, speeds = settings(folder, case, size), []
        for processes in (1, 2):
            if device.type == "cuda" and torch.cuda.device_count() < processes:
                return
            output = folder / f"processes_{processes}"
            _train(_torchrun(processes), [*given, f"output_dir={output}"], stage)
            speeds.append(_samples_per_second(output))
            yield Row(f"stage {stage}, {processes} processes", speeds[-1], "samples/s")
        yield Row(
            f"stage {stage}, two over one", speeds[1] / speeds[0], "", budget=BUDGETS.get(stage)
        )
        for name in launches:
            output = folder / name
            _train(_accelerate(name), [*given, f"output_dir={output}"], stage)
            speed, peer = _samples_per_second(output), ("DDP", speeds[1])
            yield Row(f"stage {stage}, 2 processes, {name}", speed, "samples/s", peer=peer)
            difference = _difference(output, folder / "processes_2")
            yield Row(
                f"stage {stage}, {name}, largest relative difference of a loss", difference, ""
            )


def _torchrun(processes: int) -> list[str]:
    return ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]


def _accelerate(name: str) -> list[str]:
    config = f"configs/accelerate/{name}.yaml"
    return ["accelerate.commands.launch", "--config_file", config, "--num_processes", "2"]


def _train(launcher: list[str], given: list[str], stage: int) -> None:
    """Trains with a launcher's processes, each on a GPU of its own."""
    program = ["train.py", "--config_default", DEFAULTS, "--config", stage_file(stage)]
    done = subprocess.run(
        [sys.executable, "-m", *launcher, *program, *given],
        capture_output=True,
        text=True,
        timeout=LONGEST_RUN,
    )
    assert done.returncode == 0, done.stderr[-4000:]


def _difference(run: Path, reference: Path) -> float:
    """Returns the largest relative difference of the losses of the first steps, warm-up included.

    Later ones differ because small differences of the gradients grow.
    """
    pairs = zip(read_journal(run)[:WARM_UP], read_journal(reference), strict=False)
    return max(abs(ours["loss"] / theirs["loss"] - 1) for ours, theirs in pairs)


def _samples_per_second(output: Path) -> float:
    """Returns the speed of all processes together, over the steps after the warm-up."""
    steps = read_journal(output)[WARM_UP:]
    total = sum(record["samples_per_second"] * record["seconds_step"] for record in steps)
    return total / sum(record["seconds_step"] for record in steps)
