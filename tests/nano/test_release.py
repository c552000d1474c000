"""Weights of runs on their way to a release."""

import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from nano import release
from nano.release import export_weights, newest_checkpoint
from nano.seeds import TRAIN
from src.depth.backends.nano import NanoDepth, NanoDepthConfig, load_nano_depth, save_nano_depth
from src.runtime import InputError
from src.training.checkpoints.files import Checkpoint, export_checkpoint, write_checkpoint
from src.training.tokenizer.config import TokenizerTrainConfig
from src.training.tokenizer.task import export_tokenizer

TINY = NanoDepthConfig(widths=(8, 8, 16, 16), blocks=(1, 1, 1, 1), heads=2, height=32, width=48)


def write(folder: Path, weights: dict[str, torch.Tensor]) -> None:
    network = NanoDepth(TINY)
    network.load_state_dict(weights)
    save_nano_depth(network, folder)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Two checkpoints, the newer one with an average."""
    first, second, mean = (NanoDepth(TINY) for _ in range(3))
    write_checkpoint(tmp_path / "run", Checkpoint(step=3, weights=dict(first.state_dict())), write)
    average = {name: part.clone() for name, part in mean.named_parameters()}
    newest = Checkpoint(step=5, weights=dict(second.state_dict()), average=average, minutes=1.5)
    write_checkpoint(tmp_path / "run", newest, write)
    return tmp_path / "run"


def test_the_average_of_the_newest_checkpoint(run: Path, tmp_path: Path) -> None:
    """Weights of an old checkpoint, or raw ones."""
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


def test_a_damaged_checkpoint_is_left_out_and_said_so(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Weights with a flipped bit for everybody, or an older step without a word."""
    weights = newest_checkpoint(run) / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-2] ^= 1
    weights.write_bytes(content)
    assert export_weights(run, tmp_path / "depth").step == 3
    assert "model.safetensors is damaged" in caplog.text


def test_a_run_without_checkpoints(tmp_path: Path) -> None:
    """An empty folder of weights."""
    with pytest.raises(InputError, match="checkpoint"):
        export_weights(tmp_path / "run", tmp_path / "out")
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
    assert f"seeds 0 to 99,999 and 100,000 to {TRAIN.dynamic[-1]:,})" in card
    assert "| depth | " in card and "1.5" in card and "float16" in card
    assert all(part.dtype == torch.float16 for part in load_file(weights).values())
    whole, half = (load_nano_depth(folder / "depth") for folder in (source, target))
    for ours, theirs in zip(half.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-6)
    assert not (target / "depth" / "origin.json").exists()


def test_numbers_that_half_precision_lacks(run: Path, tmp_path: Path) -> None:
    """Infinite weights."""
    source = tmp_path / "nano"
    export_weights(run, source / "depth")
    path = source / "depth" / "model.safetensors"
    save_file({**load_file(path), "head.bias": torch.tensor([1e5, 0.0])}, path)
    with pytest.raises(InputError, match=r"head\.bias"):
        release.release(source, tmp_path / "assets", parts=["depth"])
    assert contents(tmp_path / "assets") == {}
    release.release(source, tmp_path / "assets", torch.bfloat16, ["depth"])


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("place", [".", "run", "run/checkpoint-5", "run/a/b", "link", "link/x"])
def test_weights_do_not_replace_the_run_that_they_come_from(
    run: Path, tmp_path: Path, place: str
) -> None:
    """An export whose target holds its source, or lies in it: the run was deleted."""
    (tmp_path / "link").symlink_to(run)
    before = contents(tmp_path)
    with pytest.raises(InputError, match="source"):
        export_weights(run, tmp_path / place)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("extra", ["notes.txt", "more/notes.txt", "config.json"])
def test_what_no_export_wrote_is_not_replaced(run: Path, tmp_path: Path, extra: str) -> None:
    """An export that deletes whatever lies at its target."""
    target = tmp_path / "depth"
    if extra != "config.json":
        export_weights(run, target)
    path = target / extra
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("mine")
    before = contents(tmp_path)
    with pytest.raises(InputError, match=str(target)):
        export_weights(run, target)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["file/out", "n" * 300])
def test_an_export_that_cannot_be_written_is_named(run: Path, tmp_path: Path, name: str) -> None:
    """A traceback for a path through a file, or for a name that is too long."""
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can be written"):
        export_weights(run, tmp_path / name)
    read = {"decoder.weight": torch.zeros(1)}
    with pytest.raises(InputError, match="can be written"):
        export_checkpoint(run / "checkpoint-5", tmp_path / "file", lambda _: read)


def test_a_release_replaces_only_a_release(run: Path, tmp_path: Path) -> None:
    """A release that deletes its own source, or a folder or a text of somebody else."""
    source, target = tmp_path / "nano", tmp_path / "assets"
    export_weights(run, source / "depth")
    before = contents(source)
    for place in (source, tmp_path, source / "depth", source / "release"):
        with pytest.raises(InputError, match="source"):
            release.release(source, place, parts=["depth"])
    assert contents(source) == before
    release.release(source, target, parts=["depth"])
    first = contents(target)
    release.release(source, target, parts=["depth"])
    assert contents(target) == first
    (target / "depth" / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="notes.txt"):
        release.release(source, target, parts=["depth"])
    other = tmp_path / "project"
    other.mkdir()
    (other / "README.md").write_text("# A project")
    with pytest.raises(InputError, match="README.md"):
        release.release(source, other, parts=["depth"])
    assert contents(other) == {"README.md": b"# A project"}


def test_a_failed_or_killed_export_leaves_the_old_weights(run: Path, tmp_path: Path) -> None:
    """Weights that are deleted before the new ones are there; leftovers that block the next."""
    target = tmp_path / "depth"
    export_weights(run, target)
    before = contents(target)
    foreign = {"other": torch.zeros(1)}
    weights = dict(NanoDepth(TINY).state_dict())
    write_checkpoint(run, Checkpoint(step=7, weights=weights, average=foreign), write)
    with pytest.raises(InputError, match="average"):
        export_weights(run, target)
    assert contents(target) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["depth", "run"]
    # As a kill leaves them: a half-filled folder, and the old one under another name.
    (tmp_path / ".depth.new").mkdir()
    (tmp_path / ".depth.new" / "config.json").write_text("{")
    target.rename(tmp_path / ".depth.old")
    export_weights(run, target, average=False)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["depth", "run"]


def test_other_exports_keep_apart_from_their_source(run: Path, tmp_path: Path) -> None:
    """Weights of a checkpoint that its own export replaces by rounded ones."""
    before = contents(run)
    for target in (run, run / "checkpoint-5" / "x", tmp_path / "run" / "checkpoint-5"):
        with pytest.raises(InputError, match="source"):
            export_checkpoint(run / "checkpoint-5", target, load_file)
    with pytest.raises(InputError, match="source"):
        export_tokenizer(TokenizerTrainConfig(), run, run / "checkpoint-5")
    assert contents(run) == before
