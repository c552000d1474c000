"""Loading of tokenizer folders: every layout, and what is wrong with a broken one."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from src.runtime import InputError
from src.tokenizer.cosmos import VideoTokenizer
from src.tokenizer.loading import (
    RENAMES,
    load_statistics,
    load_tokenizer,
    save_tokenizer,
    to_diffusers_names,
)

TINY = {
    "encoder_block_out_channels": (8, 8, 16, 16),
    "decode_block_out_channels": (8, 16, 16, 16),
    "num_layers": 1,
}


def tiny_tokenizer() -> VideoTokenizer:
    torch.manual_seed(1)
    mean, std = torch.randn(16, 3), torch.rand(16, 3) + 0.5
    return VideoTokenizer(TINY, mean, std).requires_grad_(False).eval()


def native_state(tokenizer: VideoTokenizer) -> dict[str, torch.Tensor]:
    """Our names turned back into native ones, by the table read from right to left."""
    state = {}
    for name, tensor in tokenizer.autoencoder.state_dict().items():
        # `quant_conv` last: "conv3" would be found again inside its native name.
        for native, ours in (*reversed(RENAMES[:-1]), RENAMES[-1]):
            name = name.replace(ours, native)
        state[name] = tensor
    return state


def write_native(tokenizer: VideoTokenizer, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    torch.save(native_state(tokenizer), folder / "model.pt")
    torch.save((tokenizer.mean.flatten(), tokenizer.std.flatten()), folder / "mean_std.pt")


def test_our_layout_round_trips(tmp_path: Path) -> None:
    """Would catch a tensor lost between the two files, or statistics transposed in the config."""
    tokenizer = tiny_tokenizer()
    save_tokenizer(tokenizer, tmp_path)
    loaded = load_tokenizer(tmp_path)
    video = torch.rand(2, 3, 9, 16, 24) * 2 - 1
    torch.testing.assert_close(loaded.encode(video), tokenizer.encode(video))
    torch.testing.assert_close(loaded.mean, tokenizer.mean)
    torch.testing.assert_close(loaded.std, tokenizer.std)
    assert {p.name for p in tmp_path.iterdir()} == {
        "config.json",
        "encoder.safetensors",
        "decoder.safetensors",
    }


def test_native_weights_of_any_width_load(tmp_path: Path) -> None:
    """Would catch a wrong row of the name table, or a width read off the wrong tensor."""
    tokenizer = tiny_tokenizer()
    write_native(tokenizer, tmp_path)
    loaded = load_tokenizer(tmp_path)
    latent = torch.randn(1, 16, 2, 2, 3)
    torch.testing.assert_close(loaded.decode(latent), tokenizer.decode(latent))


def test_full_size_names_and_shapes(shared: Path) -> None:
    """Would catch a published tensor that our table does not name, or of another shape."""
    keys = json.loads((shared / "fixtures" / "sdg_keys" / "keys.json").read_text())
    published = keys["tokenizer"]
    with torch.device("meta"):
        empty = {name: torch.empty(tuple(shape)) for name, shape in published.items()}
        ours = VideoTokenizer({}, torch.empty(16, 16), torch.empty(16, 16))
    renamed = to_diffusers_names(empty)
    wanted = {name: tensor.shape for name, tensor in ours.autoencoder.state_dict().items()}
    assert {name: tensor.shape for name, tensor in renamed.items()} == wanted


def test_wrong_tensors_are_named(tmp_path: Path) -> None:
    """Would catch loading that skips a missing, extra or mis-shaped tensor in silence."""
    tokenizer = tiny_tokenizer()
    state = native_state(tokenizer)
    state["decoder.extra.weight"] = state.pop("quant_conv.conv3d.bias")
    state["post_quant_conv.conv3d.bias"] = torch.zeros(5)
    torch.save(state, tmp_path / "model.pt")
    torch.save((tokenizer.mean, tokenizer.std), tmp_path / "mean_std.pt")
    with pytest.raises(InputError) as caught:
        load_tokenizer(tmp_path)
    for part in (
        str(tmp_path),
        "1 missing: quant_conv.bias",
        "decoder.extra.weight",
        "post_quant_conv.bias [5] instead of [16]",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("name", ["model.pt", "mean_std.pt"])
def test_truncated_files_are_named(tmp_path: Path, name: str) -> None:
    """Would catch a loader error that does not say which file is broken."""
    write_native(tiny_tokenizer(), tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=name):
        load_tokenizer(tmp_path)


def test_a_foreign_pickle_is_refused(tmp_path: Path) -> None:
    """Would catch an unpickler that runs what a file tells it to."""

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (pytest.fail, ("the pickle was executed",))

    write_native(tiny_tokenizer(), tmp_path)
    torch.save({"model": Evil()}, tmp_path / "model.pt")
    with pytest.raises(InputError, match="model.pt"):
        load_tokenizer(tmp_path)


def test_empty_folder_and_bad_statistics(tmp_path: Path) -> None:
    """Would catch a folder without weights, or a zero deviation, that passes."""
    with pytest.raises(InputError, match="no weights"):
        load_tokenizer(tmp_path)
    tokenizer = tiny_tokenizer()
    write_native(tokenizer, tmp_path)
    torch.save((tokenizer.mean, torch.zeros_like(tokenizer.std)), tmp_path / "mean_std.pt")
    with pytest.raises(InputError, match="finite and positive"):
        load_tokenizer(tmp_path)


class Node(torch.nn.Module):
    """A module of the names of a state dict, for archives of TorchScript."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def as_modules(state: dict[str, torch.Tensor]) -> torch.nn.Module:
    root = Node()
    for name, tensor in state.items():
        *parents, leaf = name.split(".")
        node: torch.nn.Module = root
        for parent in parents:
            if parent not in dict(node.named_children()):
                node.add_module(parent, Node())
            node = dict(node.named_children())[parent]
        node.register_parameter(leaf, torch.nn.Parameter(tensor.clone(), requires_grad=False))
    return root


def write_published(tokenizer: VideoTokenizer, folder: Path) -> None:
    """A folder as the hub has it: archives, the state of a training, a foreign configuration."""
    write_native(tokenizer, folder)
    state = native_state(tokenizer)
    halves = {
        "encoder": {k: v for k, v in state.items() if k.startswith(("encoder.", "quant_conv."))},
        "autoencoder": state,
    }
    halves["decoder"] = {k: v for k, v in state.items() if k not in halves["encoder"]}
    for half, tensors in halves.items():
        if half == "encoder":
            tensors = tensors | {"encoder.patcher3d.wavelets": torch.ones(2)}
        torch.jit.script(as_modules(tensors)).save(folder / f"{half}.jit")
    training = {"model": {f"network.{name}": tensor for name, tensor in state.items()}}
    training |= {"optimizer": {"state": {}}, "scheduler": {}, "grad_scaler": {}, "iteration": 7}
    torch.save(training, folder / "model.pt")
    (folder / "config.json").write_text('{"architectures": ["CosmosTokenizer"],}')


KEPT = {
    "all of it": {"encoder.jit", "decoder.jit", "autoencoder.jit", "model.pt"},
    "two halves": {"encoder.jit", "decoder.jit"},
    "one archive": {"autoencoder.jit", "model.pt"},
    "a training": {"model.pt"},
}


@pytest.mark.parametrize("config", ["foreign", "none"])
@pytest.mark.parametrize("kept", KEPT)
def test_folders_fetched_the_published_way_load(tmp_path: Path, kept: str, config: str) -> None:
    """Would catch a training's state that is taken before the archives, or its prefix that is not
    taken off, and a configuration of somebody else's that stops the loading."""
    tokenizer = tiny_tokenizer()
    write_published(tokenizer, tmp_path)
    for name in KEPT["all of it"] - KEPT[kept]:
        (tmp_path / name).unlink()
    if config == "none":
        (tmp_path / "config.json").unlink()
    loaded = load_tokenizer(tmp_path)
    for name, tensor in tokenizer.autoencoder.state_dict().items():
        assert torch.equal(loaded.autoencoder.state_dict()[name], tensor), name
    assert torch.equal(load_statistics(tmp_path).mean, tokenizer.mean)


@pytest.mark.parametrize("order", [("encoder.jit", "decoder.jit"), ("autoencoder.jit",)])
def test_archives_come_before_model_pt(tmp_path: Path, order: tuple[str, ...]) -> None:
    """Would catch weights that the published program does not read."""
    write_published(tiny_tokenizer(), tmp_path)
    torch.save({"model": {"network.something": torch.ones(2)}}, tmp_path / "model.pt")
    for name in {"encoder.jit", "decoder.jit", "autoencoder.jit"} - set(order):
        (tmp_path / name).unlink()
    load_tokenizer(tmp_path)


def test_a_half_under_the_name_of_the_other_is_named(tmp_path: Path) -> None:
    """Would catch an error that names the folder alone."""
    write_published(tiny_tokenizer(), tmp_path)
    shutil.copy(tmp_path / "encoder.jit", tmp_path / "decoder.jit")
    with pytest.raises(InputError, match=r"decoder\.jit: got no tensor.*the decoder of"):
        load_tokenizer(tmp_path)


ODD_CONFIGS = {
    "unknown_key": {"unknown_key": 3},
    "encoder_block_out_channels": {"encoder_block_out_channels": [10**9] * 4},
    "num_layers": {"num_layers": 10**9},
    "latent_channels": {"latent_channels": 0},
    "patch_size": {"patch_size": -1},
    "resolution": {"resolution": 10**9},
    "scaling_factor": {"scaling_factor": float("nan")},
    "a mean of 400 digits": {"latents_mean": [10**400] * 48},
    "latents_mean": {"latents_mean": ["a"] * 48},
    "_class_name": {"_class_name": "Other"},
    "no numbers": {"latents_std": [[1.0]] * 48},
}


@pytest.mark.parametrize("key", ODD_CONFIGS)
def test_odd_configurations_are_refused(tmp_path: Path, key: str) -> None:
    """Would catch a TypeError without the file, or a network that fills the memory."""
    save_tokenizer(tiny_tokenizer(), tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | ODD_CONFIGS[key]))
    with pytest.raises(InputError, match=r"config\.json"):
        load_tokenizer(tmp_path)


def test_deep_json_is_refused(tmp_path: Path) -> None:
    """Would catch a RecursionError."""
    save_tokenizer(tiny_tokenizer(), tmp_path)
    (tmp_path / "config.json").write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"config\.json"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        {"mean": 1},
        [],
        (torch.ones(16),),
        (torch.ones(16), "a"),
        (torch.ones(16, dtype=torch.int64),) * 2,
        7,
    ],
)
def test_odd_statistics_are_refused(tmp_path: Path, content: object) -> None:
    """Would catch a traceback where statistics are something else."""
    write_native(tiny_tokenizer(), tmp_path)
    torch.save(content, tmp_path / "mean_std.pt")
    with pytest.raises(InputError, match=r"mean_std\.pt"):
        load_tokenizer(tmp_path)
