"""Adapters: what trains, what is written, and what comes of both together."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file
from tiny_generator import NETWORK

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.training.config import LoraConfig
from cosmos_predict1.training.lora import (
    adapted_state,
    adapters_of,
    add_adapters,
    merged,
    read_adapters,
    write_adapters,
)
from src.runtime import InputError

LORA = LoraConfig(rank=3, alpha=5)


def random_network() -> Gen3CTransformer:
    torch.manual_seed(1)
    network = Gen3CTransformer(NETWORK).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


@pytest.fixture
def adapted() -> Gen3CTransformer:
    """A network whose adapters do something."""
    network = random_network()
    add_adapters(network, LORA)
    for name, parameter in network.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return network


def output(network: Gen3CTransformer) -> torch.Tensor:
    torch.manual_seed(2)
    told = Conditions(torch.randn(1, 1, 8), torch.zeros(1, 1, 2, 4, 6), torch.randn(1, 64, 2, 4, 6))
    with torch.no_grad():
        return network(torch.randn(1, 16, 2, 4, 6), torch.zeros(1), told)


def test_new_adapters_change_nothing_and_alone_are_trained() -> None:
    """Adapters that begin with noise, frozen ones, or weights that are not frozen."""
    network = random_network()
    before = output(network)
    add_adapters(network, LORA)
    torch.testing.assert_close(output(network), before)
    trained = {name for name, part in network.named_parameters() if part.requires_grad}
    assert trained == {name for name, _ in network.named_parameters() if "lora_" in name}
    # Both attentions and the feed-forward layers of both blocks.
    assert len(trained) == 2 * 2 * (4 + 4 + 2)


def test_merged_weights_compute_the_same(adapted: Gen3CTransformer) -> None:
    """Another scale, a product in the wrong order, or an adapter that is forgotten."""
    plain = random_network()
    assert not torch.allclose(output(plain), output(adapted), atol=0.1)
    plain.load_state_dict(merged(adapted.state_dict(), LORA), strict=True)
    torch.testing.assert_close(output(plain), output(adapted), rtol=1e-4, atol=1e-4)


def test_adapters_come_back_from_disk(adapted: Gen3CTransformer, tmp_path: Path) -> None:
    """Names that differ between writing and reading, or weights in the adapters' file."""
    state = adapted.state_dict()
    write_adapters(tmp_path, state, LORA)
    assert set(read_adapters(tmp_path, LORA)) == set(adapters_of(state))
    whole = adapted_state(random_network().state_dict(), read_adapters(tmp_path, LORA))
    assert whole.keys() == state.keys()
    assert all(torch.equal(whole[name], state[name]) for name in state)
    with pytest.raises(InputError, match="rank"):
        read_adapters(tmp_path, LoraConfig(rank=4, alpha=5))


def test_files_are_those_of_peft(adapted: Gen3CTransformer, tmp_path: Path) -> None:
    """A layout that other programs don't read."""
    from peft import PeftModel

    write_adapters(tmp_path, adapted.state_dict(), LORA)
    names = load_file(tmp_path / "adapter_model.safetensors")
    assert all(name.startswith("base_model.model.transformer_blocks.") for name in names)
    loaded = PeftModel.from_pretrained(cast(Any, random_network()), str(tmp_path))
    torch.testing.assert_close(output(cast(Any, loaded).base_model.model), output(adapted))


def test_targets_that_do_not_exist() -> None:
    """A run that trains nothing."""
    with pytest.raises(InputError, match="to_nothing"):
        add_adapters(random_network(), LoraConfig(rank=2, targets=["to_nothing"]))
