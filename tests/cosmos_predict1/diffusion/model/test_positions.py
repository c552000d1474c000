"""Rotary angles and the learned position embedding against formulas, diffusers and the original."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from cosmos_predict1.diffusion.model.architecture import TransformerConfig
from cosmos_predict1.diffusion.model.network import position_embedding, rotary_angles

EXACT = TransformerConfig(rope_precision="exact")


def test_angles_of_the_published_head_by_the_formula() -> None:
    """Would catch a wrong split of the channels, base, scale or order of the tokens."""
    angles = rotary_angles(EXACT, (3, 4, 5), 24.0).double()
    assert angles.shape == (60, 128)
    token = (2 * 4 + 3) * 5 + 4
    for channel in range(64):
        axis, first, dim = (
            (0, 0, 44) if channel < 22 else (1, 22, 42) if channel < 43 else (2, 43, 42)
        )
        base = 1e4 * (2.0 ** (44 / 42) if axis == 0 else 1)
        expected = (2, 3, 4)[axis] * base ** (-2 * (channel - first) / dim)
        assert angles[token, channel].item() == pytest.approx(expected, rel=1e-6)
        assert angles[token, 64 + channel] == angles[token, channel]


@pytest.mark.parametrize("fps", [24.0, 30.0, 12.5])
def test_exact_angles_are_those_of_diffusers(fps: float, tiny_config: TransformerConfig) -> None:
    """Would catch a frame rate or a scale that stretches the wrong way."""
    from diffusers.models.transformers.transformer_cosmos import CosmosRotaryPosEmbed

    peer = CosmosRotaryPosEmbed(
        tiny_config.attention_head_dim, tiny_config.max_size, rope_scale=tiny_config.rope_scale
    )
    cos, sin = peer(torch.zeros(1, 1, 3, 4, 6), fps=fps)
    angles = rotary_angles(tiny_config, (3, 2, 3), fps)
    torch.testing.assert_close(angles.cos(), cos)
    torch.testing.assert_close(angles.sin(), sin)


def test_rounded_angles_are_the_originals(shared: Path) -> None:
    """Would catch a rounding that is left out, or done in another order."""
    reference = load_file(shared / "fixtures" / "sdg_transformer" / "tensors.safetensors")
    config = TransformerConfig(
        num_attention_heads=2, attention_head_dim=32, rope_scale=(2.0, 1.0, 1.0)
    )
    expected = reference["aux/rope_angles_bf16"][:, 0, 0]
    assert torch.equal(rotary_angles(config, (3, 3, 5), 24.0), expected)


def test_rounding_is_as_large_as_it_is_known_to_be() -> None:
    """Would catch a switch without effect; time stays exact at 24 fps but for its frequencies."""
    grid = (16, 44, 80)
    exact = rotary_angles(EXACT, grid, 24.0)
    rounded = rotary_angles(replace(EXACT, rope_precision="bf16"), grid, 24.0)
    error = (exact - rounded).abs()[:, :64]
    for part, known in ((slice(0, 22), 0.026), (slice(22, 43), 0.074), (slice(43, 64), 0.148)):
        assert error[:, part].max().item() == pytest.approx(known, rel=0.05)


def test_position_embedding_is_that_of_diffusers() -> None:
    """Would catch a wrong order of the axes or a norm without its root of the width."""
    from diffusers.models.transformers.transformer_cosmos import CosmosLearnablePositionalEmbed

    peer = CosmosLearnablePositionalEmbed(10, (4, 8, 12), (1, 2, 2))
    for parameter in peer.parameters():
        torch.nn.init.normal_(parameter)
    ours = position_embedding(peer.pos_emb_t, peer.pos_emb_h, peer.pos_emb_w, (3, 2, 5))
    torch.testing.assert_close(ours, peer(torch.zeros(1, 1, 3, 4, 10)))
    torch.testing.assert_close(ours.square().mean(dim=-1), torch.ones(1, 30))
