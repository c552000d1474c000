"""`scripts/nano.py` as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_generator import write_tiny_weights
from tiny_scene import FRAMES, HEIGHT, WIDTH
from warm.python import warm_python

from src.io.clip.clip import list_keys, list_trajectories
from src.models.recon.decoder import load_decoder

REPOSITORY = Path(__file__).resolve().parents[2]
SETTINGS = [
    f"img_size=[{HEIGHT},{WIDTH}]",
    f"num_input_views={FRAMES}",
    f"num_views={FRAMES + 2}",
    *("enc_depth=3", "enc_embed_dim=32", "enc_num_heads=1", "num_test_scenes=1"),
    "loop.validate_every=0",
]


def run(*arguments: str, python: str | None = None) -> subprocess.CompletedProcess[str]:
    """The command, with its output."""
    return subprocess.run(
        [python or warm_python(), "scripts/nano.py", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_clips_and_both_ladders(tmp_path: Path) -> None:
    """Stages that start from the wrong one, parts that are made twice, weights not exported."""
    nano = write_tiny_weights(tmp_path / "nano")
    flags = [*SETTINGS, "--output", str(nano), "--worlds_static", "2", "--worlds_dynamic", "2"]
    flags += ["--workers", "0", "--clip", "depth=truth", "--together", "--makers", "2"]
    flags += ["--minutes", "clips=20"]
    flags += ["--stages", *["0.02", "0", "0.02", "0", "0.02", "0.02", "0.02", "0.02", "0.02"]]
    done = run("train", "clips", "decoders", *flags)
    assert done.returncode == 0, done.stderr[-4000:]
    assert list_trajectories(nano / "clips" / "static") == [str(number) for number in range(6)]
    keys = [f"world_{100_000 + number}" for number in range(4)]
    assert list_keys(nano / "clips" / "dynamic") == keys
    stage = nano / "training" / "3dgs_res_704_1280_views_121_multi_6"
    assert '3dgs_res_704_1280_views_121"' in (stage / "stage.json").read_text()
    dynamic = stage.with_name(f"{stage.name}_dynamic") / "stage.json"
    assert '3dgs_res_704_1280_views_121_multi_6"' in dynamic.read_text()
    assert not (nano / "training" / "3dgs_res_176_320_views_49").exists()
    assert load_decoder(nano / "decoder_static").config.prune_ratio == 0.5
    assert load_decoder(nano / "decoder_dynamic").config.use_time
    again = run("train", "static", "dynamic", "depth", *flags)
    assert again.returncode == 0 and "== stage" not in again.stdout


def test_a_failure_is_loud(tmp_path: Path) -> None:
    """A command that goes on after a failure, or ends in silence."""
    done = run("train", "clips_static", "release", "--output", str(tmp_path), python=sys.executable)
    assert done.returncode == 1 and "release" not in done.stdout
    last = done.stderr.splitlines()[-1]
    assert last.startswith("nano.py: FAILED in part clips_static (exit code 1), see ")
    assert "generator" in (tmp_path / "clips_static.log").read_text()


@pytest.mark.parametrize("name", ["processes", "makers", "workers", "worlds_static", "seeds"])
@pytest.mark.parametrize("value", ["two", "-1", "0.5"])
def test_a_number_that_is_none_is_refused(name: str, value: str) -> None:
    """A count that fails in the middle of the making."""
    done = run("train", f"--{name}={value}")
    assert done.returncode == 2 and f"--{name}: '{value}': expected" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["train", "nothing"], "part: got nothing"),
        (["train", "--minutes", "4"], "--minutes: got 4"),
        (["train", "depth", "--minutes", "four"], "--minutes: got four"),
        (["ablate", "half"], "variant: got half"),
        (["train", "depth", "--small"], "unrecognized arguments: --small"),
        (["release", "a", "b", "c"], "unrecognized arguments: c"),
    ],
)
def test_wrong_words(words: list[str], said: str) -> None:
    """A word that is ignored, or a traceback."""
    done = run(*words)
    assert done.returncode in (1, 2) and said in done.stderr.splitlines()[-1]
