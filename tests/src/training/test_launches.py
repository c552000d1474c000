"""Launches of two processes: what they agree on, and that they are one training."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from linear_task import WEIGHTS
from safetensors.torch import load_file

from src.training.journal import read_journal

PROGRAM = Path(__file__).resolve().parents[2] / "launch_linear.py"
SHARDED = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP",
    "FSDP_MIN_NUM_PARAMS": "8",
}
pytestmark = pytest.mark.slow


def launch(
    processes: int,
    folder: Path,
    size: int,
    steps: int,
    settings: str = "a: 1",
    environment: dict[str, str] | None = None,
) -> subprocess.CompletedProcess:
    """Train the linear task with batches of `size` in each process."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"]
    return subprocess.run(
        [sys.executable, *launcher, PROGRAM, folder, str(size), str(steps), settings],
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        capture_output=True,
        text=True,
        timeout=300,
    )


def losses(folder: Path) -> torch.Tensor:
    return torch.tensor([record["loss"] for record in read_journal(folder) if "loss" in record])


@pytest.mark.parametrize("environment", [{}, SHARDED], ids=["replicated", "sharded"])
def test_two_processes_are_one_with_twice_the_batch(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """Gradients that are not averaged, shards that are saved or restored as if they were whole."""
    assert launch(1, tmp_path / "one", 4, 4).returncode == 0
    for steps in (2, 4):
        done = launch(2, tmp_path / "two", 2, steps, environment=environment)
        assert done.returncode == 0, done.stderr
    torch.testing.assert_close(losses(tmp_path / "two"), losses(tmp_path / "one"))
    for name in (WEIGHTS, "average.safetensors"):
        one, two = (load_file(tmp_path / run / "checkpoint-4" / name) for run in ("one", "two"))
        for key, value in one.items():
            torch.testing.assert_close(two[key], value)


def test_processes_with_different_settings_all_stop(tmp_path: Path) -> None:
    """Two processes that train different things, or one that waits for ever for the other."""
    done = launch(2, tmp_path / "run", 2, 2, settings="rate: RANK")
    assert done.returncode != 0
    assert done.stderr.count("input error: configuration of process 1") == 2
    assert "rate: 1" in done.stderr
    assert not (tmp_path / "run").exists()
