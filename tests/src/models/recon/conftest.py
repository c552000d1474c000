"""Small decoders whose weights are all alive, and inputs for them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from src.models.recon.decoder import DecoderConfig, LatentRecon

SMALL = {"depth": 4, "width": 64, "heads": 2, "attention_every": 2, "latent_channels": 4}


def make_decoder(**changes: object) -> LatentRecon:
    """A decoder of width 64 in which nothing is left at zero."""
    torch.manual_seed(1)
    model = LatentRecon(DecoderConfig(**(SMALL | changes)))  # pyright: ignore[reportArgumentType]
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("A_log", "dt_bias", ".D")):
                continue
            scale = 0.02 if name.startswith("deconv") else 0.1
            parameter.add_(torch.randn_like(parameter) * scale)
    return model.eval()


def make_inputs(trajectories: int = 2, latent_frames: int = 3, batch: int = 1) -> list[Tensor]:
    """Latents, Pluecker latents, ray origins and unit directions on a 4 x 6 grid."""
    generator = torch.Generator().manual_seed(2)
    random = lambda *shape: torch.randn(*shape, generator=generator)  # noqa: E731
    frames = 8 * (latent_frames - 1) + 1
    latents = random(batch, trajectories, latent_frames, 4, 4, 6)
    pluecker = random(batch, trajectories, latent_frames, 8, 4, 6)
    origins = random(batch, trajectories, frames, 3, 1, 1).expand(-1, -1, -1, -1, 4, 6)
    directions = random(batch, trajectories, frames, 3, 4, 6)
    return [latents, pluecker, origins, torch.nn.functional.normalize(directions, dim=3)]


@pytest.fixture
def decoder() -> Callable[..., LatentRecon]:
    return make_decoder


@pytest.fixture
def inputs() -> Callable[..., list[Tensor]]:
    return make_inputs
