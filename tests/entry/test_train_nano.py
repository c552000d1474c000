"""`train_nano.sh` from clips to decoders, with the smallest networks."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_generator import write_tiny_weights
from tiny_scene import FRAMES, HEIGHT, WIDTH

from src.io.clip.clip import list_keys, list_trajectories
from src.models.recon.weights import load_decoder

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = [
    f"img_size=[{HEIGHT},{WIDTH}]",
    f"num_input_views={FRAMES}",
    f"num_views={FRAMES + 2}",
    *("enc_depth=3", "enc_embed_dim=32", "enc_num_heads=1", "num_test_scenes=1"),
    "loop.validate_every=0",
]
pytestmark = pytest.mark.slow


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    """The script in the repository, with its output."""
    return subprocess.run(
        ["bash", "scripts/bash/train_nano.sh", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.timeout(1000)
def test_clips_and_both_ladders(tmp_path: Path) -> None:
    """Stages that start from the wrong one, parts that are made twice, weights not exported."""
    nano = write_tiny_weights(tmp_path / "nano")
    settings = {"NANO": str(nano), "WORLDS_STATIC": "2", "WORLDS_DYNAMIC": "2", "WORKERS": "0"}
    settings |= {"CLIPS": "depth=truth", "SETTINGS": " ".join(SETTINGS)}
    settings |= {"TOGETHER": "1", "MAKERS": "2", "MINUTES_CLIPS": "20"}
    settings |= {"MINUTES_STAGES": "0.02 0 0.02 0 0.02 0.02 0.02 0.02 0.02"}
    done = run("clips", "decoders", **settings)
    assert done.returncode == 0, done.stderr[-4000:]
    assert list_trajectories(nano / "clips" / "static") == [str(number) for number in range(6)]
    assert list_keys(nano / "clips" / "dynamic") == ["world_100000", "world_100001"]
    stage = nano / "training" / "3dgs_res_704_1280_views_121_multi_6"
    assert '3dgs_res_704_1280_views_121"' in (stage / "stage.json").read_text()
    dynamic = stage.with_name(f"{stage.name}_dynamic") / "stage.json"
    assert '3dgs_res_704_1280_views_121"' in dynamic.read_text()
    assert not (nano / "training" / "3dgs_res_176_320_views_49").exists()
    assert load_decoder(nano / "decoder_static").config.prune_ratio == 0.5
    assert load_decoder(nano / "decoder_dynamic").config.use_time
    again = run("static", "dynamic", "depth", **settings)
    assert again.returncode == 0 and "== stage" not in again.stdout


# Notes what it is called with, and writes what exports do.
PRETENDER = """#!/usr/bin/env bash
echo "[${CUDA_VISIBLE_DEVICES-}] $*" >> "$CALLS"
case $1 in
    scripts/export_nano.py) mkdir -p "$4" && touch "$4/config.json" "$4/origin.json" ;;
    scripts/export_tokenizer.py) mkdir -p "$3" && touch "$3/config.json" ;;
esac
"""


def test_the_tokenizer_is_two_trainings(tmp_path: Path) -> None:
    """A second training that starts anew, settings of another type, statistics of the first."""
    python, calls, nano = tmp_path / "python", tmp_path / "calls", tmp_path / "nano"
    python.write_text(PRETENDER)
    python.chmod(0o755)
    done = run("tokenizer", NANO=str(nano), PYTHON=str(python), CALLS=str(calls))
    assert done.returncode == 0, done.stderr
    first, kept, second, _, last = calls.read_text().splitlines()
    assert "training/tokenizer.yaml" in first and "initial_weights" not in first
    assert f"{nano}/training/tokenizer {nano}/training/tokenizer_first" in kept
    assert f"loop.initial_weights={nano}/training/tokenizer_first" in second
    assert "--config_default configs/nano/training/tokenizer.yaml" in second
    assert f"export_tokenizer.py {nano}/training/tokenizer_finish {nano}/tokenizer" in last
    assert (nano / "tokenizer" / "origin.json").is_file()
    precise = "loop.mixed_precision=no"
    assert shutil.which("nvidia-smi") or (precise in first and precise in second)
    assert run("tokenizer", NANO=str(nano), PYTHON=str(python), CALLS=str(calls)).returncode == 0
    assert len(calls.read_text().splitlines()) == 5


def test_gpus_are_shared_out(tmp_path: Path) -> None:
    """Makers all on one GPU, decoders that leave some idle, a start that a decoder is not given."""
    python, calls, nano = tmp_path / "python", tmp_path / "calls", tmp_path / "nano"
    python.write_text(PRETENDER)
    python.chmod(0o755)
    settings = {"NANO": str(nano), "PYTHON": str(python), "CALLS": str(calls), "GPUS": "4"}
    settings |= {"MAKERS": "3", "START": "given", "MINUTES_STAGES": "0 0 0 0 0 1 1 1 1"}
    settings |= {"CUDA_VISIBLE_DEVICES": "4,5,6,7"}
    done = run("clips", "decoders", **settings)
    assert done.returncode == 0, done.stderr
    lines = calls.read_text().splitlines()
    makers = [line for line in lines if "make_nano_clips.py" in line]
    assert sorted(line[:3] for line in makers if "dynamic=false" in line) == ["[4]", "[4]", "[5]"]
    assert sorted(line[:3] for line in makers if "dynamic=true" in line) == ["[6]", "[6]", "[7]"]
    trainings = [line for line in lines if "train.py" in line]
    assert len(trainings) == 4
    for line in trainings:
        kind, devices = ("dynamic", "[6,7]") if "_dynamic" in line else ("static", "[4,5]")
        words = f"{devices} -m torch.distributed.run --standalone --nproc_per_node=2 "
        assert line.startswith(words)
        assert f"loop.initial_weights=given/decoder_{kind}" in line
    hidden = run("static", **{**settings, "CUDA_VISIBLE_DEVICES": "", "NANO": str(tmp_path / "b")})
    assert hidden.returncode == 0, hidden.stderr
    train = [line for line in calls.read_text().splitlines() if "train.py" in line][-1]
    assert train.startswith("[] ") and "torch.distributed" not in train


def test_a_failure_is_loud(tmp_path: Path) -> None:
    """A script that goes on after a failure, or ends in silence."""
    done = run("clips_static", "release", NANO=str(tmp_path))
    assert done.returncode != 0 and "FAILED in part clips_static" in done.stderr
    assert "release" not in done.stdout
    assert run("nothing", NANO=str(tmp_path)).returncode == 2
