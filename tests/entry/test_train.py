"""`train.py` and `train.sh` as a user runs them."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from tiny_scene import TinyInput, write_tiny_input
from tiny_training import checkpoint_names, losses, training_arguments
from warm.python import warm_python

from src.config.loading import file_layer, load_train_config
from src.training.decoder.config import DecoderTrainConfig
from src.training.loop.journal import read_journal

REPOSITORY = Path(__file__).resolve().parents[2]
STAGES = {
    "176_320_views_17": (None, 2),
    "176_320_views_49": ("176_320_views_17", 4),
    "352_640_views_49": ("176_320_views_49", 6),
    "704_1280_views_49": ("352_640_views_49", 8),
    "704_1280_views_121": ("704_1280_views_49", 10),
    "704_1280_views_121_multi_6": ("704_1280_views_121", 12),
    "704_1280_views_121_multi_6_prune": ("704_1280_views_121_multi_6", 14),
    "704_1280_views_121_multi_6_dynamic": ("704_1280_views_121_multi_6", 14),
    "704_1280_views_121_multi_6_dynamic_prune": ("704_1280_views_121_multi_6_dynamic", 16),
}
# What `accelerate launch --config_file configs/accelerate/fsdp2.yaml` sets.
SHARDED = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "MambaBlock,AttentionBlock",
    "FSDP_RESHARD_AFTER_FORWARD": "true",
}
# The same for deepspeed_zero2.yaml.
ZERO = {"ACCELERATE_USE_DEEPSPEED": "true", "ACCELERATE_DEEPSPEED_ZERO_STAGE": "2"}
without = pytest.mark.skipif(find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> TinyInput:
    return write_tiny_input(tmp_path_factory.mktemp("tiny"), scenes=4)


def command(tiny: TinyInput, out: Path, *settings: str) -> list[str]:
    """`train.py` on tiny clips, with weights whose Gaussians can be seen."""
    visible = f"resume_pretrained_model_ckpt={tiny.checkpoint}"
    return ["train.py", *training_arguments(tiny, out, visible, *settings)]


def run(program: list[str], **environment: str) -> subprocess.CompletedProcess:
    """A command in the repository, with its output."""
    return subprocess.run(
        program,
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.timeout(1000)
def test_nine_stages_in_a_row(tmp_path: Path) -> None:
    """A stage that does not run, starts from the wrong one, or is made again when finished."""
    output = tmp_path / "out"
    settings = {"CONFIGS": "configs/nano/training", "STEPS": "2", "OUTPUT": str(output)}
    # Threads that wait without work would take the cores from other programs.
    settings |= {"LAUNCH": warm_python(), "GOMP_SPINCOUNT": "1000"}
    begun = time.monotonic()
    # A third of the pixels of nano's configurations.
    small = "img_size=[144,256]"
    done = run(["bash", "train.sh", small], **settings)
    sys.stderr.write(f"nine stages: {time.monotonic() - begun:.0f} s\n")
    assert done.returncode == 0, done.stderr[-4000:]
    for suffix, (source, last) in STAGES.items():
        folder = output / "training" / f"3dgs_res_{suffix}"
        assert checkpoint_names(folder)[-1] == f"checkpoint-{last}", suffix
        found = losses(folder)
        assert len(found) == 2 and all(map(math.isfinite, found)), suffix
        if source is not None:
            stage = json.loads((folder / "stage.json").read_text())
            assert stage["source"].endswith(f"3dgs_res_{source}")
            assert stage["first_step"] == last - 2
        config = load_train_config(DecoderTrainConfig, [file_layer(folder / "config.yaml")])
        assert config.loop.output_dir == str(folder)
    assert sorted(path.name for path in output.iterdir()) == ["data", "training"]
    again = run(["bash", "train.sh", "9", small], **settings)
    assert again.returncode == 0 and "finished at step 16" in again.stderr


def test_a_killed_run_goes_on_to_the_bit(tiny: TinyInput, tmp_path: Path) -> None:
    """Whatever a checkpoint forgets, or a kill at any moment breaks."""
    settings = ("max_train_steps=12", "checkpointing_steps=3", "use_ema=true")
    whole = run([warm_python(), *command(tiny, tmp_path / "whole", *settings)])
    assert whole.returncode == 0, whole.stderr
    killed = tmp_path / "killed"
    for step in (4, 8):
        process = subprocess.Popen(
            [sys.executable, *command(tiny, killed, *settings)],
            cwd=REPOSITORY,
            stderr=subprocess.DEVNULL,
        )
        wait_for(killed, step, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
    done = run([warm_python(), *command(tiny, killed, *settings)])
    assert done.returncode == 0, done.stderr
    assert losses(killed) == losses(tmp_path / "whole")
    assert checkpoint_names(killed) == checkpoint_names(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_told_to_stop_says_so_and_goes_on(
    tiny: TinyInput, tmp_path: Path, number: signal.Signals
) -> None:
    """Workers that die with the signal and take the step with them, or a job that seems finished.

    The signal goes to all processes of the job, as `timeout`, batch systems and Ctrl-C send it.
    """
    settings = ("max_train_steps=200", "checkpointing_steps=1000", "num_workers=2")
    told = tmp_path / "told"
    process = subprocess.Popen(
        [sys.executable, *command(tiny, told, *settings)],
        cwd=REPOSITORY,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    wait_for(told, 3, process)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=300)
    (name,) = checkpoint_names(told)
    assert process.returncode == 128 + number and "Traceback" not in said
    assert said.splitlines()[-1].endswith(f"at step {name[11:]}; {name} is written"), said
    last = f"max_train_steps={int(name[11:]) + 1}"
    done = run([warm_python(), *command(tiny, told, *settings[1:], last)])
    assert done.returncode == 0 and len(losses(told)) == int(name[11:]) + 1


def wait_for(folder: Path, step: int, process: subprocess.Popen) -> None:
    """Return when the run has written a step of this number, or has ended."""
    while process.poll() is None:
        journal = folder / "steps.jsonl"
        if journal.is_file() and journal.read_text().count("\n") >= step:
            return
        time.sleep(0.02)


@pytest.mark.parametrize(
    "environment",
    [{}, SHARDED, pytest.param(ZERO, marks=without)],
    ids=["replicated", "sharded", "zero"],
)
def test_two_processes_give_the_loss_of_one_with_twice_the_batch(
    tiny: TinyInput, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Processes that see the same scenes, draw other numbers, or don't average."""
    settings = ("max_train_steps=4", "num_test_scenes=0")
    one = command(tiny, tmp_path / "one", *settings, "batch_size=2")
    assert run([warm_python(), *one]).returncode == 0
    launcher = [warm_python(), "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    program = [*launcher, *command(tiny, tmp_path / "two", *settings)]
    two = run(program, OMP_NUM_THREADS="1", **environment)
    assert two.returncode == 0, two.stderr
    first, second = (read_journal(tmp_path / name) for name in ("one", "two"))
    # Later gradients differ: Adam divides even rounding errors by their own size, and Gaussians
    # that are just culled in one run are just seen in the other.
    for name, steps in (("loss", 4), ("mse", 4), ("loss_depth", 2), ("gradient_norm", 2)):
        torch.testing.assert_close(
            torch.tensor([record[name] for record in second[:steps]]),
            torch.tensor([record[name] for record in first[:steps]]),
            rtol=1e-4,
            atol=1e-4,
        )


def test_a_stage_without_the_one_before_fails_loudly(tmp_path: Path) -> None:
    """A ladder that goes on with untrained weights, makes data first, or hides the failure."""
    settings = {"CONFIGS": "configs/nano/training", "OUTPUT": str(tmp_path / "out")}
    done = run(["bash", "train.sh", "5", "7"], **settings, LAUNCH=warm_python())
    assert done.returncode != 0
    assert "3dgs_res_704_1280_views_49: got no complete checkpoint" in done.stderr
    assert "stage 6" not in done.stdout and not (tmp_path / "out/data").exists()


def test_errors_of_a_user_are_one_line(tiny: TinyInput, tmp_path: Path) -> None:
    """A traceback in place of what is wrong."""
    cases = {"max_train_stps=1": "did you mean 'max_train_steps'", "task=paint": "decoder"}
    cases[f"dataset_root={tmp_path / 'nowhere'}"] = "nowhere"
    for setting, expected in cases.items():
        done = run([warm_python(), *command(tiny, tmp_path / "run", setting)])
        assert done.returncode != 0
        assert expected in done.stderr.splitlines()[-1]
        assert "Traceback" not in done.stderr
