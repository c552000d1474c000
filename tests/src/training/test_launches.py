"""Launches of two processes: what they agree on, and that they are one training."""

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from linear_task import WEIGHTS
from safetensors.torch import load_file
from warm.python import warm_python

from src.training.loop.journal import read_journal

TESTS = Path(__file__).resolve().parents[2]
PROGRAM, SLOW_PROGRAM = TESTS / "launch_linear.py", TESTS / "launch_checkpoints.py"
ZERO_FILE = TESTS.parent / "configs" / "accelerate" / "deepspeed_zero2.yaml"
SHARDED = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "SIZE_BASED_WRAP",
    "FSDP_MIN_NUM_PARAMS": "8",
}
ZERO = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}
without = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
pytestmark = pytest.mark.slow


def launch(
    processes: int,
    folder: Path,
    size: int,
    steps: int,
    settings: str = "a: 1",
    environment: dict[str, str] | None = None,
    accumulation: int = 1,
    config: Path | None = None,
) -> subprocess.CompletedProcess:
    """Train the linear task with batches of `size` in each process; by accelerate's `config`."""
    arguments = [folder, *map(str, (size, steps, settings, accumulation))]
    return launch_program(processes, PROGRAM, arguments, environment, config)


def launch_program(
    processes: int,
    program: Path,
    arguments: list[Path | str],
    environment: dict[str, str] | None = None,
    config: Path | None = None,
) -> subprocess.CompletedProcess:
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--standalone"]
    if config is not None:
        launcher = ["-m", "accelerate.commands.accelerate_cli", "launch", "--config_file", config]
        launcher += ["--num_processes", str(processes)]
    return subprocess.run(
        [warm_python(), *launcher, program, *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
        capture_output=True,
        text=True,
        # Until DeepSpeed has compiled what it needs, once a machine, it takes minutes.
        timeout=600,
    )


def losses(folder: Path) -> torch.Tensor:
    return torch.tensor([record["loss"] for record in read_journal(folder) if "loss" in record])


@pytest.mark.parametrize(
    "environment",
    [{}, SHARDED, pytest.param(ZERO, marks=without)],
    ids=["replicated", "sharded", "zero"],
)
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


@without
def test_zero_goes_on_to_the_bit(tmp_path: Path) -> None:
    """Parts of the optimizer's state, or of its counters, that a checkpoint forgets."""
    for run, stops in (("whole", [4]), ("resumed", [2, 4])):
        for steps in stops:
            done = launch(2, tmp_path / run, 2, steps, accumulation=2, config=ZERO_FILE)
            assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "resumed").equal(losses(tmp_path / "whole"))
    whole, resumed = (optimizer_tensors(tmp_path / run) for run in ("whole", "resumed"))
    assert whole.keys() == resumed.keys() and len(whole) == 6 * 3
    assert all(resumed[key].equal(value) for key, value in whole.items())


@without
@pytest.mark.parametrize("first", [{}, ZERO], ids=["to_zero", "from_zero"])
def test_zero_shares_checkpoints_with_other_launches(tmp_path: Path, first: dict[str, str]) -> None:
    """A state that only the kind and number of processes can read that wrote it.

    One process with four samples, twice accumulated, is two processes with two samples each.
    """
    assert launch(1, tmp_path / "one", 4, 4, accumulation=2).returncode == 0
    second = {} if first else ZERO
    for steps, environment in ((2, first), (4, second)):
        processes = 2 if environment else 1
        size = 4 // processes
        kind = {"environment": environment, "accumulation": 2}
        done = launch(processes, tmp_path / "mixed", size, steps, **kind)
        assert done.returncode == 0, done.stderr
    torch.testing.assert_close(losses(tmp_path / "mixed"), losses(tmp_path / "one"))
    one, mixed = (optimizer_tensors(tmp_path / run) for run in ("one", "mixed"))
    assert one.keys() == mixed.keys()
    for key, value in one.items():
        torch.testing.assert_close(mixed[key], value, msg=str(key))


def optimizer_tensors(folder: Path) -> dict[tuple[str, str], torch.Tensor]:
    """What the optimizer remembers after four steps, by parameter and kind."""
    state = torch.load(folder / "checkpoint-4" / "optimizer.pt", weights_only=True)
    return {(name, key): value for name, part in state.items() for key, value in part.items()}


Runs = dict[str, list[subprocess.CompletedProcess]]


@pytest.fixture(scope="module")
def slow_runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Two runs of each kind; the kinds side by side, since their processes sleep most of it."""
    root, kinds = tmp_path_factory.mktemp("slow"), {"replicated": {}, "sharded": SHARDED}

    def runs(kind: str) -> list[subprocess.CompletedProcess]:
        return [
            launch_program(2, SLOW_PROGRAM, [root / kind, steps], kinds[kind])
            for steps in ("2", "3")
        ]

    with ThreadPoolExecutor() as pool:
        return dict(zip(kinds, pool.map(runs, kinds), strict=True))


@pytest.mark.parametrize("kind", ["replicated", "sharded"])
def test_one_process_reads_and_writes_while_the_other_waits(slow_runs: Runs, kind: str) -> None:
    """A state copied to the CPU in all processes, files read by all, a wait that times out."""
    heard = []
    for done in slow_runs[kind]:
        assert done.returncode == 0, done.stderr
        heard.append(sorted(done.stdout.splitlines()))
    held = ["process 0 holds 30 tensors", "process 0 writes", "process 1 holds 0 tensors"]
    assert heard == [held, sorted(["process 0 reads", *held])]


def test_processes_with_different_settings_all_stop(tmp_path: Path) -> None:
    """Two processes that train different things, or one that waits for ever for the other."""
    done = launch(2, tmp_path / "run", 2, 2, settings="rate: RANK")
    assert done.returncode != 0
    assert done.stderr.count("input error: configuration of process 1") == 2
    assert "rate: 1" in done.stderr
    assert not (tmp_path / "run").exists()
