"""The name table: one name for every tensor."""

import json
from pathlib import Path

import pytest
import torch
from published.generator_names import to_published_names

from cosmos_predict1.diffusion.model.architecture import TransformerConfig
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.model.weights import our_name, to_our_names


def test_full_size_names_and_shapes(shared: Path) -> None:
    """Would catch a published tensor without a row, a wrong row, or another shape."""
    keys = json.loads((shared / "fixtures" / "sdg_keys" / "keys.json").read_text())
    with torch.device("meta"):
        published = {name: torch.empty(tuple(s)) for name, s in keys["transformer"].items()}
        ours = Gen3CTransformer(TransformerConfig()).state_dict()
    mapped = to_our_names(published)
    assert {name: t.shape for name, t in mapped.items()} == {n: t.shape for n, t in ours.items()}
    assert sum(tensor.numel() for tensor in ours.values()) == 7_237_257_216


def test_names_round_trip(tiny_network: Gen3CTransformer) -> None:
    """Would catch two tensors under one name, or a row that reads differently backwards."""
    state = tiny_network.state_dict()
    published = to_published_names(state)
    assert len(published) == len(state)
    assert all(name.startswith("net.") for name in published)
    back = to_our_names(published)
    assert back.keys() == state.keys()
    assert all(back[name] is state[name] for name in state)


@pytest.mark.parametrize(
    "name",
    [
        "net.pos_embedder.seq",
        "net.pos_embedder.dim_spatial_range",
        "logvar.0.freqs",
        "net.accum_video_sample_counter",
        "net.blocks.block3.blocks.0.block.attn.attn_op._extra_state",
        "conditioner.text.weight",
    ],
)
def test_what_is_no_weight_is_dropped(name: str) -> None:
    """Would catch a published file that is refused for its buffers and counters."""
    assert our_name(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "net.blocks.block3.blocks.3.block.layer1.weight",
        "net.blocks.block3.blocks.0.block.attn.to_q.0.bias",
        "net.extra_pos_embedder.pos_emb_z",
        "x_embedder.proj.1.weight",
        "patch_embed.proj.weight",
        "net.logvar.0.freqs",
    ],
)
def test_unknown_names_stay_and_so_are_refused(name: str) -> None:
    """Would catch a loose pattern that maps, or drops, what it does not know."""
    assert our_name(name) == name
