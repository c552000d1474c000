"""`train.py` with the generator's task, on worlds, as a user runs it."""

import math
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_training import checkpoint_names, losses
from tiny_training_generator import generator_arguments
from warm.python import warm_python

from cosmos_predict1.diffusion.model.network import load_generator
from src.training.loop.journal import read_journal

REPOSITORY = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def run(folder: Path, *settings: str, python: str | None = None) -> subprocess.CompletedProcess:
    command = [python or warm_python(), "train.py", *generator_arguments(folder, *settings)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=500)


def test_worlds_become_weights(tmp_path: Path) -> None:
    """A task that `train.py` does not know, the decoder's defaults in it, a lost run."""
    done = run(tmp_path, "loop.validate_every=2", python=sys.executable)
    assert done.returncode == 0, done.stderr[-4000:]
    folder = tmp_path / "run"
    assert checkpoint_names(folder) == ["checkpoint-2"]
    assert all(map(math.isfinite, losses(folder)))
    assert "validation_psnr" in read_journal(folder)[-1]
    assert (folder / "validation" / "step-000002.png").is_file()
    assert load_generator(folder / "checkpoint-2").config.sampling.text_encoder == "none"
    again = run(tmp_path, "loop.max_steps=3")
    assert again.returncode == 0, again.stderr[-4000:]
    assert len(losses(folder)) == 3
    wrong = run(tmp_path, "edm.dropuot=1")
    assert wrong.returncode != 0 and "dropuot" in wrong.stderr.splitlines()[-1]
