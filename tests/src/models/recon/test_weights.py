"""Weights on disk: round trips, strictness, and files that hold more than tensors."""

import json
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from src.models.recon.decoder import DecoderConfig, LatentRecon, load_decoder, save_decoder
from src.runtime import InputError

Decoder = Callable[..., LatentRecon]
NAME = "enc_blocks.0.mamba.in_proj.weight"


class Bookkeeping:
    """What a training framework stores beside the weights."""

    def __init__(self) -> None:
        self.step, self.history = 7, [1.0, 2.0]


class Attack:
    """Makes a file when it is unpickled by a reader that imports."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.victim}",)


def assert_same(ours: LatentRecon, theirs: LatentRecon) -> None:
    assert ours.state_dict().keys() == theirs.state_dict().keys()
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], tensor), name


def test_our_format_round_trips(decoder: Decoder, tmp_path: Path) -> None:
    """Catches a configuration that is not stored, and parameters left on the meta device."""
    model = decoder(prune_ratio=0.5, scale_cap=0.2, checkpointing=True)
    save_decoder(model, tmp_path)
    for path in (tmp_path, tmp_path / "model.safetensors"):
        loaded = load_decoder(path)
        assert_same(loaded, model)
        assert loaded.config.prune_ratio == 0.5 and loaded.config.scale_cap == 0.2
        assert not loaded.config.checkpointing and not loaded.training
        assert all(part.requires_grad and not part.is_meta for part in loaded.parameters())


@pytest.mark.parametrize("wrapped", [True, False])
def test_torch_checkpoints_load(decoder: Decoder, tmp_path: Path, wrapped: bool) -> None:
    """Catches the published layout being refused."""
    model = decoder()
    state = OrderedDict(model.state_dict())
    torch.save({"module": state, "step": 3} if wrapped else state, tmp_path / "model.pt")
    assert_same(load_decoder(tmp_path / "model.pt", model.config), model)


@pytest.mark.parametrize("protocol", [2, 4])
def test_foreign_objects_beside_the_weights_are_inert(
    decoder: Decoder, tmp_path: Path, protocol: int
) -> None:
    """Catches a reader that runs what a file says, or that refuses files of DeepSpeed."""
    model, victim = decoder().bfloat16(), tmp_path / "victim"
    state = OrderedDict((name, torch.nn.Parameter(p)) for name, p in model.state_dict().items())
    content = {
        "before": Attack(victim),
        "module": state,
        "args": Bookkeeping(),
        "rng": [Attack(victim), {"inside": Bookkeeping()}],
    }
    path = tmp_path / "mp_rank_00_model_states.pt"
    torch.save(content, path, pickle_protocol=protocol)
    with pytest.raises(pickle.UnpicklingError):
        torch.load(path, weights_only=True)
    assert_same(load_decoder(path, model.config), model.float())
    assert not victim.exists()


def test_weights_that_are_foreign_objects_are_refused(decoder: Decoder, tmp_path: Path) -> None:
    """Catches stand-ins that pass for tensors."""
    state = decoder().state_dict() | {NAME: Attack(tmp_path / "victim")}
    torch.save({"module": state}, tmp_path / "model.pt")
    with pytest.raises(InputError, match=NAME):
        load_decoder(tmp_path / "model.pt", decoder().config)
    assert not (tmp_path / "victim").exists()


def test_every_wrong_tensor_is_named(decoder: Decoder, tmp_path: Path) -> None:
    """Catches a loader that keeps random weights, or stops at the first problem."""
    model = decoder()
    state = dict(model.state_dict())
    state["enc_blocks.0.mamba.renamed.weight"] = state.pop(NAME)
    state.pop("deconv.bias")
    state["extra"] = torch.zeros(3)
    state["enc_norm.weight"] = torch.zeros(63)
    state["enc_norm.bias"] = torch.zeros(64, dtype=torch.int64)
    torch.save({"module": state}, tmp_path / "model.pt")
    with pytest.raises(InputError) as caught:
        load_decoder(tmp_path / "model.pt", model.config)
    message = str(caught.value)
    assert str(tmp_path / "model.pt") in message
    for part in (
        "2 missing: ",
        f"{NAME} [",
        "deconv.bias [",
        "2 unexpected: enc_blocks.0.mamba.renamed.weight [",
        "extra [3];",
        "enc_norm.weight [63] instead of [64]",
        "1 not floating-point: enc_norm.bias torch.int64",
    ):
        assert part in message, part


def test_unreadable_files_are_named(decoder: Decoder, tmp_path: Path) -> None:
    """Catches a traceback of the reading library instead of the file's name."""
    model = decoder()
    save_decoder(model, tmp_path / "ours")
    torch.save({"module": model.state_dict()}, tmp_path / "whole.pt")
    whole = (tmp_path / "whole.pt").read_bytes()
    broken = {
        "cut.pt": whole[: len(whole) // 2],
        "text.pt": b"not a checkpoint",
        "empty.pt": b"",
        "pickle.pt": pickle.dumps({"module": 3}),
        "text.safetensors": b"not a checkpoint either",
    }
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=name):
            load_decoder(tmp_path / name, model.config)
    torch.save([1, 2], tmp_path / "list.pt")
    for missing in ("none.pt", "list.pt", "nothing"):
        with pytest.raises(InputError, match=missing):
            load_decoder(tmp_path / missing)


def test_wrong_configurations_beside_the_weights_are_refused(
    decoder: Decoder, tmp_path: Path
) -> None:
    """Catches unknown keys and wrong types that would silently give another network."""
    save_decoder(decoder(), tmp_path)
    path = tmp_path / "config.json"
    good = json.loads(path.read_text())
    assert good["width"] == 64 and "backend" not in good
    wrong = ({"widht": 64}, {"width": "64"}, {"width": 64.0}, {"use_time": 1}, {"heads": 3})
    for change in wrong:
        path.write_text(json.dumps(good | change))
        with pytest.raises(InputError, match="widht" if "widht" in change else next(iter(change))):
            load_decoder(tmp_path)
    path.unlink()
    with pytest.raises(InputError, match="config.json"):
        load_decoder(tmp_path)


@pytest.mark.parametrize("name", ["depth", "width", "heads", "patch", "latent_channels"])
@pytest.mark.parametrize("value", [0, -1, 10**9])
def test_impossible_sizes_are_refused_before_anything_is_built(
    decoder: Decoder, tmp_path: Path, name: str, value: int
) -> None:
    """Catches a division by zero, and a small file that asks for a network without an end."""
    save_decoder(decoder(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {name: value}))
    with pytest.raises(InputError, match=rf"config\.json: got decoder\.{name} = {value}, expected"):
        load_decoder(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"near": float("nan")},
        {"near": -1.0},
        {"far": float("inf")},
        {"near": 2.0, "far": 1.0},
        {"scale_cap": -1.0},
        {"distance_shift": float("nan")},
        {"mlp_ratio": 0.0},
    ],
)
def test_impossible_ranges_of_the_heads_are_refused(change: dict[str, float]) -> None:
    """Catches depths and scales that are not numbers, which every Gaussian would inherit."""
    with pytest.raises(InputError, match=next(iter(change))):
        DecoderConfig(**change)


def test_weights_of_another_size_are_refused(decoder: Decoder, tmp_path: Path) -> None:
    """Catches weights that are loaded into a network of another depth."""
    save_decoder(decoder(depth=3), tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file(state, tmp_path / "copy.safetensors")
    with pytest.raises(InputError, match="enc_blocks.3.attn.proj.bias"):
        load_decoder(tmp_path / "copy.safetensors", decoder().config)
