"""Loading and saving of the generator: every layout, and what is wrong with a broken one."""

import io
import json
from pathlib import Path

import pytest
import torch
from published.generator_names import to_published_names
from safetensors.torch import load_file, save_file
from torch import Tensor

from cosmos_predict1.diffusion.model.architecture import (
    TransformerConfig,
    read_config,
    write_config,
)
from cosmos_predict1.diffusion.model.network import (
    Gen3CTransformer,
    convert_generator,
    load_generator,
    save_generator,
)
from src.runtime import InputError

WEIGHTS = "diffusion_pytorch_model.safetensors"
BLOCK_WEIGHT = "net.blocks.block1.blocks.2.block.layer1.weight"


def published(network: Gen3CTransformer) -> dict[str, object]:
    """The state of a published file, with entries that are no weights."""
    extras = {
        "net.pos_embedder.seq": torch.arange(4.0),
        "logvar.1.weight": torch.zeros(1, 8),
        "net.blocks.block0.blocks.0.block.attn.attn_op._extra_state": io.BytesIO(b"fp8"),
        "net.blocks.block1.blocks.0.block.attn.attn_op._extra_state": None,
    }
    return {
        name: tensor.clone() for name, tensor in to_published_names(_state(network)).items()
    } | (extras)


def _state(network: Gen3CTransformer) -> dict[str, Tensor]:
    return {name: tensor.detach() for name, tensor in network.state_dict().items()}


def write_published(network: Gen3CTransformer, folder: Path, state: object = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(published(network) if state is None else state, folder / "model.pt")
    write_config(network.config, folder)
    return folder


def assert_equal(loaded: Gen3CTransformer, network: Gen3CTransformer) -> None:
    ours, others = _state(loaded), _state(network)
    assert ours.keys() == others.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, others[name]), name


@pytest.mark.parametrize("wrapped", [False, True])
def test_published_files_load(
    tmp_path: Path, tiny_network: Gen3CTransformer, wrapped: bool
) -> None:
    """Would catch a wrong name, a wrapper that is not opened, or buffers taken for weights."""
    state = published(tiny_network)
    content = {"model": state, "iteration": 3} if wrapped else state
    folder = write_published(tiny_network, tmp_path / "Gen3C-Cosmos-7B", content)
    for source in (tmp_path, folder, folder / "model.pt"):
        loaded = load_generator(source)
        assert_equal(loaded, tiny_network)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


@pytest.mark.parametrize("content", [b"", b"fp8", bytes(range(256))])
@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("new", [True, False])
def test_the_state_of_layers_for_fp8_is_passed_over(
    tmp_path: Path, tiny_network: Gen3CTransformer, new: bool, protocol: int, content: bytes
) -> None:
    """Would catch a file in memory that is refused because its pickle names `bytes`, or
    `_codecs.encode`, as protocol 2 spells empty and other bytes."""
    names = [f"net.blocks.block{index}.blocks.0.block.attn.to_q.0._extra_state" for index in (0, 1)]
    state = published(tiny_network) | {name: io.BytesIO(content) for name in names}
    folder = write_published(tiny_network, tmp_path)
    torch.save(
        state,
        folder / "model.pt",
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=new,
    )
    assert_equal(load_generator(folder), tiny_network)


def test_old_torch_files_load(tmp_path: Path, tiny_network: Gen3CTransformer) -> None:
    """Would catch memory-mapping asked of a format that has none."""
    folder = write_published(tiny_network, tmp_path)
    state = to_published_names(_state(tiny_network))
    torch.save(state, folder / "model.pt", _use_new_zipfile_serialization=False)
    assert_equal(load_generator(folder), tiny_network)


def test_types_and_switches(tmp_path: Path, tiny_network: Gen3CTransformer) -> None:
    """Would catch weights left in the file's type, or a switch that the configuration overrides."""
    folder = write_published(tiny_network, tmp_path)
    loaded = load_generator(folder, dtype=torch.bfloat16, rope_precision="bf16")
    assert loaded.dtype == torch.bfloat16 and loaded.config.rope_precision == "bf16"
    types = {name: tensor.dtype for name, tensor in _state(loaded).items()}
    kept = {name for name, dtype in types.items() if dtype == torch.float32}
    assert kept == {f"learnable_pos_embed.pos_emb_{axis}" for axis in "thw"}
    assert load_generator(folder).config.rope_precision == "exact"


@pytest.mark.parametrize("max_bytes", [10**9, 20_000, 1])
def test_our_layout_round_trips(
    tmp_path: Path, tiny_network: Gen3CTransformer, max_bytes: int
) -> None:
    """Would catch a tensor lost between shards, or an index that lists the wrong file."""
    save_generator(tiny_network, tmp_path / "generator", max_bytes)
    files = sorted(path.name for path in (tmp_path / "generator").glob("*.safetensors"))
    assert (len(files) > 1) == (max_bytes < 10**9)
    for name in files:
        tensors = load_file(tmp_path / "generator" / name)
        size = sum(tensor.nbytes for tensor in tensors.values())
        assert size <= max_bytes or len(tensors) == 1
    assert_equal(load_generator(tmp_path), tiny_network)


def test_saving_again_in_one_file_replaces_the_shards(
    tmp_path: Path, tiny_network: Gen3CTransformer
) -> None:
    """Would catch an old index that wins over the new weights."""
    save_generator(tiny_network, tmp_path, 20_000)
    with torch.no_grad():
        tiny_network.proj_out.weight.add_(1)
    save_generator(tiny_network, tmp_path)
    assert_equal(load_generator(tmp_path), tiny_network)


def test_diffusers_reads_our_folder(tmp_path: Path, tiny_network: Gen3CTransformer) -> None:
    """Would catch names or a layout that only we understand."""
    from diffusers import CosmosTransformer3DModel

    save_generator(tiny_network, tmp_path, 20_000)
    model, report = CosmosTransformer3DModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, _state(tiny_network)[name]), name


def test_conversion(tmp_path: Path, tiny_network: Gen3CTransformer) -> None:
    """Would catch a conversion that changes weights or forgets the configuration."""
    source, target = write_published(tiny_network, tmp_path / "from"), tmp_path / "to"
    assert convert_generator(source, target, max_shard_bytes=20_000) == tiny_network.config
    assert_equal(load_generator(target), tiny_network)
    convert_generator(source, target, torch.bfloat16)
    stored = load_file(target / WEIGHTS)
    assert {tensor.dtype for tensor in stored.values()} == {torch.bfloat16}


def test_wrong_tensors_are_listed_with_their_shapes(
    tmp_path: Path, tiny_network: Gen3CTransformer
) -> None:
    """Would catch loading that skips a missing, extra or mis-shaped tensor in silence."""
    state = published(tiny_network)
    state["net.renamed.weight"] = state.pop("net.affline_norm.weight")
    state[BLOCK_WEIGHT] = torch.zeros(3, 5)
    with pytest.raises(InputError) as caught:
        load_generator(write_published(tiny_network, tmp_path, state))
    for part in (
        str(tmp_path),
        "1 missing: time_embed.norm.weight [36]",
        "1 unexpected: net.renamed.weight [36]",
        "transformer_blocks.1.ff.net.0.proj.weight [3, 5] instead of [144, 36]",
    ):
        assert part in str(caught.value), part


def test_another_architecture_is_described(
    tmp_path: Path, tiny_network: Gen3CTransformer, tiny_config: TransformerConfig
) -> None:
    """Would catch weights of a wider or deeper network that load in part."""
    folder = write_published(tiny_network, tmp_path)
    (folder / "config.json").unlink()
    with pytest.raises(InputError) as caught:
        load_generator(folder)
    message = str(caught.value)
    assert "patch_embed.proj.weight [36, 104] instead of [4096, 328]" in message
    assert "transformer_blocks.2." in message and " and " in message


def test_integers_are_no_weights(tmp_path: Path, tiny_network: Gen3CTransformer) -> None:
    """Would catch quantised weights that are taken for what they stand for."""
    state = published(tiny_network)
    state[BLOCK_WEIGHT] = torch.zeros(144, 36, dtype=torch.int8)
    with pytest.raises(InputError, match="not floating-point.*int8"):
        load_generator(write_published(tiny_network, tmp_path, state))


@pytest.mark.parametrize("keep", [0.0, 0.5, 0.99])
def test_truncated_files_are_named(
    tmp_path: Path, tiny_network: Gen3CTransformer, keep: float
) -> None:
    """Would catch a half-downloaded file that loads, or fails without its name."""
    native, ours = write_published(tiny_network, tmp_path / "native"), tmp_path / "ours"
    save_generator(tiny_network, ours)
    for path in (native / "model.pt", ours / WEIGHTS):
        content = path.read_bytes()
        path.write_bytes(content[: int(len(content) * keep)])
        with pytest.raises(InputError, match=path.name):
            load_generator(path.parent)


def test_missing_and_odd_shards_are_named(tmp_path: Path, tiny_network: Gen3CTransformer) -> None:
    """Would catch shards that are skipped, or read from outside the folder."""
    save_generator(tiny_network, tmp_path, 20_000)
    shard = sorted(tmp_path.glob("*.safetensors"))[1]
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(InputError, match=shard.name):
        load_generator(tmp_path)
    shard.write_bytes(content)
    index = tmp_path / f"{WEIGHTS}.index.json"
    stored = json.loads(index.read_text())
    for bad in ({"weight_map": {"a": "../model.safetensors"}}, {"weight_map": [1]}, [], {}):
        index.write_text(json.dumps(bad))
        with pytest.raises(InputError, match="index"):
            load_generator(tmp_path)
    index.write_text('{"weight_map": ' + "[" * 100_000)
    with pytest.raises(InputError, match=r"index.*nested"):
        load_generator(tmp_path)
    index.write_text(json.dumps(stored))
    assert_equal(load_generator(tmp_path), tiny_network)


@pytest.mark.parametrize("content", [[torch.zeros(2)], {"net.x": 3}, {"model": 3}, 7])
def test_files_without_named_tensors_are_refused(
    tmp_path: Path, tiny_network: Gen3CTransformer, content: object
) -> None:
    """Would catch a crash far from the file that caused it."""
    with pytest.raises(InputError, match="model.pt"):
        load_generator(write_published(tiny_network, tmp_path, content))


def test_a_foreign_pickle_is_refused(tmp_path: Path, tiny_network: Gen3CTransformer) -> None:
    """Would catch an unpickler that runs what a file tells it to."""

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (pytest.fail, ("the pickle was executed",))

    folder = write_published(tiny_network, tmp_path, {"model": Evil()})
    with pytest.raises(InputError, match="model.pt"):
        load_generator(folder)


def test_folders_without_weights_are_named(tmp_path: Path) -> None:
    """Would catch a message that does not say where the weights were looked for."""
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match="Gen3C-Cosmos-7B"):
        load_generator(tmp_path)
    with pytest.raises(InputError, match="nowhere.*generator"):
        load_generator(tmp_path / "nowhere")


FOREIGN = (
    '{"architectures": ["CosmosTokenizer"],}',
    '{"_class_name": "AutoencoderKLCosmos"}',
    "",
    "[" * 100_000,
    '{"model_type": "gen3c", "hidden_size": 7}',
)


@pytest.mark.parametrize("content", FOREIGN)
def test_a_foreign_config_beside_model_pt_does_not_matter(tmp_path: Path, content: str) -> None:
    """Would catch a published folder that is refused for a file that no program of ours wrote."""
    (tmp_path / "model.pt").write_bytes(b"")
    (tmp_path / "config.json").write_text(content)
    assert read_config(tmp_path) == TransformerConfig()


def test_our_config_beside_model_pt_matters(tmp_path: Path, tiny_network: Gen3CTransformer) -> None:
    """Would catch a broken key of our own that is passed over with the foreign ones."""
    folder = write_published(tiny_network, tmp_path)
    assert read_config(folder) == tiny_network.config
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"num_layer": 3}))
    with pytest.raises(InputError, match="unknown key 'num_layer'"):
        load_generator(folder)


@pytest.mark.parametrize("prefix", ["module.", "model."])
def test_prefixes_of_trainings_are_taken_off(
    tmp_path: Path, tiny_network: Gen3CTransformer, prefix: str
) -> None:
    """Would catch a published state of a training that fits but for its names."""
    state = {prefix + name: part for name, part in published(tiny_network).items()}
    content = {"state_dict": state, "optimizer": {}, "iteration": 3}
    assert_equal(load_generator(write_published(tiny_network, tmp_path, content)), tiny_network)
