"""A piece is sampled as published: conditions in their channels, guidance, given first frame."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_generator import NETWORK, write_tiny_weights
from tiny_scene import FRAMES, HEIGHT, WIDTH
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.cache import Warps
from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.config import sdg_config
from cosmos_predict1.diffusion.flags import static_parser
from cosmos_predict1.diffusion.hardware import HardwareConfig
from cosmos_predict1.diffusion.model.levels import noise_levels
from cosmos_predict1.diffusion.sampling.pipeline import Gen3C, load_gen3c
from cosmos_predict1.diffusion.sampling.recipe import SamplingPlan
from cosmos_predict1.diffusion.sampling.sampler import initial_noise
from src.io.image import to_uint8
from src.runtime import InputError

PLAN = SamplingPlan(num_steps=5, guidance=0.7, fps=24.0, seeds=(11,))
TEXTS = (torch.ones(1, 2, NETWORK.text_embed_dim), torch.zeros(1, 2, NETWORK.text_embed_dim))


def load(folder: Path) -> Gen3C:
    arguments = ["--checkpoint_dir", str(folder), "--device", "cpu"]
    return load_gen3c(sdg_config(static_parser("").parse_args(arguments)))


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_weights(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def generator(weights: Path) -> Gen3C:
    return load(weights)


@pytest.fixture
def warps() -> Warps:
    image = torch.rand(1, FRAMES, 3, HEIGHT, WIDTH) * 2 - 1
    mask = torch.rand(1, FRAMES, HEIGHT, WIDTH) > 0.3
    return Warps(image, mask, mask.float())


def published_sample(generator: Gen3C, first: Tensor, warps: Tensor) -> Tensor:
    """The loop of the published program, written from its formulas."""
    sigmas = noise_levels(PLAN.num_steps).tolist()
    shape = (1, 16, *warps.shape[2:])
    x = initial_noise(shape, *PLAN.seeds) * (80.0**2 + 1) ** 0.5
    fixed = np.random.RandomState(PLAN.seeds[0]).standard_normal(shape)
    z = torch.zeros(shape)
    z[:, :, :1] = first
    indicator = torch.zeros(1, 1, shape[2], 1, 1)
    indicator[:, :, 0] = 1
    mask = indicator.expand(1, 1, *shape[2:])

    def scale(sigma: float) -> float:
        return (sigma**2 + 0.25) ** -0.5

    def network(y: Tensor, sigma: float, text: Tensor, warp: Tensor) -> Tensor:
        level = torch.tensor([np.log(sigma) / 4], dtype=torch.float32)
        return generator.network(scale(sigma) * y, level, Conditions(text, mask, warp, PLAN.fps))

    for sigma, following in zip(sigmas[:-1], sigmas[1:], strict=True):
        given = indicator if sigma > 0.001 else torch.zeros_like(indicator)
        noisy = (z + 0.001 * torch.from_numpy(fixed).float()) * scale(0.001) / scale(sigma)
        y = given * noisy + (1 - given) * x
        wanted = network(y, sigma, TEXTS[0], warps)
        unwanted = network(y, sigma, TEXTS[1], torch.zeros_like(warps))
        f = wanted + PLAN.guidance * (wanted - unwanted)
        x0 = 0.25 * scale(sigma) ** 2 * y + 0.5 * sigma * scale(sigma) * f
        x0 = given * z + (1 - given) * x0
        x = y + (y - x0) / sigma * (following - sigma)
    return x


def test_a_piece_is_what_the_published_loop_gives(generator: Gen3C, warps: Warps) -> None:
    """Conditions in wrong channels, guidance without its zero warps, another noise."""
    frame = torch.rand(3, HEIGHT, WIDTH) * 2 - 1
    first, latents = generator.first_latent(frame), generator.warp_latents(warps)
    steps: list[int] = []
    piece = generator.generate(first, latents, TEXTS, PLAN, lambda step, _: steps.append(step))
    with torch.no_grad():
        wanted = published_sample(generator, first.clone(), latents.clone())
    torch.testing.assert_close(piece.latents, wanted[0], atol=1e-4, rtol=1e-4)
    assert steps == [0, 1, 2, 3, 4]
    video = generator.decode(piece.latents[None])
    assert (piece.frames == to_uint8(video.permute(1, 2, 3, 0))).all()
    assert piece.frames.shape == (FRAMES, HEIGHT, WIDTH, 3)
    torch.testing.assert_close(piece.last_frame, video[:, -1].clamp(-1, 1))


def test_missing_buffers_are_zeros(generator: Gen3C, warps: Warps) -> None:
    """A black video encoded in the place of a buffer that there is not."""
    latents = generator.warp_latents(warps)
    assert latents.shape == (1, 64, 2, HEIGHT // 8, WIDTH // 8)
    assert (latents[:, 32:] == 0).all() and latents[:, :32].abs().min(dim=2).values.mean() > 0


def test_the_first_latent_is_that_of_the_frame_in_a_video(generator: Gen3C) -> None:
    """A first frame normalised with the statistics of other frames."""
    frame = torch.rand(3, HEIGHT, WIDTH) * 2 - 1
    video = torch.zeros(1, 3, FRAMES, HEIGHT, WIDTH)
    video[0, :, 0] = frame
    with torch.no_grad():
        whole = generator.tokenizer.statistics.normalise(generator.tokenizer.encode(video))
    torch.testing.assert_close(generator.first_latent(frame), whole[:, :, :1], atol=1e-5, rtol=1e-4)


def test_no_autograd_graph_is_recorded(generator: Gen3C, warps: Warps) -> None:
    """A graph of 28 blocks, which at full size is more than any GPU holds."""
    network = generator.network.requires_grad_(True)
    try:
        frame = torch.rand(3, HEIGHT, WIDTH)
        first, latents = generator.first_latent(frame), generator.warp_latents(warps)
        seen: list[bool] = []
        handle = network.transformer_blocks[0].register_forward_hook(
            lambda _module, _inputs, output: seen.append(output.requires_grad)
        )
        piece = generator.generate(first, latents, TEXTS, replace(PLAN, num_steps=1))
        handle.remove()
    finally:
        network.requires_grad_(False)
    assert seen == [False, False] and not piece.latents.requires_grad


def test_seeds_make_the_difference(generator: Gen3C, warps: Warps) -> None:
    """The same noise for all trajectories, or other results for the same seed."""
    first = generator.first_latent(torch.zeros(3, HEIGHT, WIDTH))
    latents = generator.warp_latents(warps)
    plans = [replace(PLAN, seeds=(seed,), num_steps=1) for seed in (1, 1, 2**32 - 1)]
    pieces = [generator.generate(first, latents, TEXTS, plan).latents for plan in plans]
    assert (pieces[0] == pieces[1]).all() and not torch.allclose(pieces[0], pieces[2])


def test_broken_weights_are_named(weights: Path, tmp_path: Path) -> None:
    """Weights of another network, truncated or absent ones, that are filled with noise."""
    with pytest.raises(InputError, match="no weights of the generator"):
        load(tmp_path)
    shutil.copytree(weights, tmp_path / "cut")
    file = tmp_path / "cut" / "generator" / "diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(InputError, match="diffusion_pytorch_model"):
        load(tmp_path / "cut")
    shutil.copytree(weights, tmp_path / "other")
    config = tmp_path / "other" / "generator" / "config.json"
    config.write_text(config.read_text().replace('"num_layers": 2', '"num_layers": 3'))
    with pytest.raises(InputError, match=r"missing: transformer_blocks\.2.*\[24, 24\]"):
        load(tmp_path / "other")
    shutil.rmtree(tmp_path / "other" / "tokenizer")
    with pytest.raises(InputError):
        load(tmp_path / "other")


def test_computation_is_float32_on_a_cpu() -> None:
    """Bfloat16 convolutions on a processor, which take minutes."""
    assert HardwareConfig(device=torch.device("cpu")).dtype == torch.float32
    assert HardwareConfig(device=torch.device("cuda")).dtype == torch.bfloat16


@pytest.mark.parametrize("part", ["network", "tokenizer"])
def test_values_that_are_not_finite_are_refused(weights: Path, warps: Warps, part: str) -> None:
    """One damaged number in the weights, and black clips that pass for finished ones."""
    generator = load(weights)
    network = {"network": generator.network, "tokenizer": generator.tokenizer.autoencoder.decoder}
    parameter = next(iter(network[part].parameters()))
    parameter.data.flatten()[0] = float("nan")
    latents = generator.warp_latents(warps)
    first = torch.zeros(1, 16, 1, *latents.shape[3:])
    with pytest.raises(InputError, match=r"not finite.*weights"):
        generator.generate(first, latents, TEXTS, replace(PLAN, num_steps=1))
