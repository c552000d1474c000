"""A tiny generator network with random weights, and conditions that fit it."""

import pytest
import torch

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.architecture import SamplingDefaults, TransformerConfig
from cosmos_predict1.diffusion.model.network import Gen3CTransformer


@pytest.fixture(scope="session")
def tiny_config() -> TransformerConfig:
    return TransformerConfig(
        in_channels=25,
        num_attention_heads=2,
        attention_head_dim=18,
        num_layers=2,
        text_embed_dim=8,
        adaln_lora_dim=4,
        max_size=(4, 8, 12),
        rope_scale=(2.0, 1.0, 1.5),
        rope_precision="exact",
        sampling=SamplingDefaults(
            height=64,
            width=96,
            num_frames=25,
            fps=30.0,
            num_steps=6,
            guidance=0.5,
            text_encoder="none",
        ),
    )


@pytest.fixture
def tiny_network(tiny_config: TransformerConfig) -> Gen3CTransformer:
    """Every parameter random, the norms and the position embedding too."""
    torch.manual_seed(3)
    network = Gen3CTransformer(tiny_config).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return network


@pytest.fixture
def conditions() -> Conditions:
    """Two clips of 3 latent frames of 4 x 6."""
    torch.manual_seed(4)
    mask = torch.zeros(2, 1, 3, 4, 6)
    mask[:, :, 0] = 1
    padding = (torch.rand(2, 1, 9, 13) > 0.5).float()
    return Conditions(torch.randn(2, 5, 8), mask, torch.randn(2, 8, 3, 4, 6), 30.0, padding)
