"""Weights of runs on their way to a release."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from src.depth.nano import NanoDepth, NanoDepthConfig, load_nano_depth, save_nano_depth
from src.runtime import InputError
from src.training import release
from src.training.checkpoints import Checkpoint, write_checkpoint
from src.training.release import export_weights, newest_checkpoint

TINY = NanoDepthConfig((8, 8, 16, 16), (1, 1, 1, 1), 2, 32, 48)


def write(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    network = NanoDepth(TINY)
    network.load_state_dict(weights)
    save_nano_depth(network, folder)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two checkpoints, the newer one with an average."""
    first, second, mean = (NanoDepth(TINY) for _ in range(3))
    write_checkpoint(tmp_path / "run", Checkpoint(3, dict(first.state_dict())), write)
    average = {name: part.clone() for name, part in mean.named_parameters()}
    newest = Checkpoint(5, dict(second.state_dict()), average=average, minutes=1.5)
    write_checkpoint(tmp_path / "run", newest, write)
    return tmp_path / "run"


def test_the_average_of_the_newest_checkpoint(run: Path, tmp_path: Path) -> None:
    """Weights of an old checkpoint, or raw ones; what is left of an earlier export."""
    (tmp_path / "depth").mkdir()
    (tmp_path / "depth" / "old.safetensors").write_bytes(b"")
    origin = export_weights(run, tmp_path / "depth")
    assert (origin.step, origin.minutes, origin.averaged) == (5, 1.5, True)
    assert {p.name for p in (tmp_path / "depth").iterdir()} == {
        *("config.json", "model.safetensors", "origin.json")
    }
    mean = load_file(newest_checkpoint(run) / "average.safetensors")
    network = load_nano_depth(tmp_path / "depth")
    assert all(torch.equal(part, mean[name]) for name, part in network.named_parameters())
    assert not export_weights(run, tmp_path / "depth", average=False).averaged
    raw = load_file(newest_checkpoint(run) / "model.safetensors")
    assert torch.equal(
        load_file(tmp_path / "depth" / "model.safetensors")["up.0.bias"], raw["up.0.bias"]
    )


def test_a_run_without_checkpoints(tmp_path: Path) -> None:
    """An empty folder of weights."""
    with pytest.raises(InputError, match="checkpoint"):
        export_weights(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_release_is_half_as_large_and_says_what_it_is(run: Path, tmp_path: Path) -> None:
    """Weights in single precision, digests of other files, a part that is forgotten."""
    source, target = tmp_path / "nano", tmp_path / "assets"
    export_weights(run, source / "depth")
    with pytest.raises(InputError, match="tokenizer"):
        release.release(source, target)
    (source / "evaluation").mkdir()
    checks = [{"what": "tokenizer", "value": 29.126, "least": 29.0, "reached": True}]
    checks += [{"what": "moving", "value": None, "least": None, "reached": None}]
    figures = {"checks": checks}
    (source / "evaluation" / "evaluation.json").write_text(json.dumps(figures))
    card = release.release(source, target, parts=["depth"]).read_text()
    assert "| tokenizer | 29.13 | 29.00 | reached |" in card
    assert "| moving | – | – | not measured |" in card
    weights = target / "depth" / "model.safetensors"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() in card
    assert "| depth | " in card and "1.5" in card and "float16" in card
    assert all(part.dtype == torch.float16 for part in load_file(weights).values())
    whole, half = (load_nano_depth(folder / "depth") for folder in (source, target))
    for ours, theirs in zip(half.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
    assert not (target / "depth" / "origin.json").exists()


def test_numbers_that_half_precision_lacks(run: Path, tmp_path: Path) -> None:
    """Infinite weights."""
    export_weights(run, tmp_path / "depth")
    path = tmp_path / "depth" / "model.safetensors"
    save_file({**load_file(path), "head.bias": torch.tensor([1e5, 0.0])}, path)
    with pytest.raises(InputError, match=r"head\.bias"):
        release.release(tmp_path, tmp_path / "assets", parts=["depth"])
    release.release(tmp_path, tmp_path / "assets", torch.bfloat16, ["depth"])
