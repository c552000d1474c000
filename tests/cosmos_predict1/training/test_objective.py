"""The loss of the generator: its formula, its inputs, and what drop-out leaves."""

import pytest
import torch
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.architecture import TransformerConfig
from cosmos_predict1.diffusion.model.denoiser import CONDITION_SIGMA, Denoiser, c_in, c_out, c_skip
from cosmos_predict1.diffusion.model.levels import noise_levels
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.sampling.recipe import SamplingPlan
from cosmos_predict1.diffusion.sampling.sampler import condition_noise, initial_noise, sample
from cosmos_predict1.training.config import EdmConfig
from cosmos_predict1.training.latents import LatentBatch
from cosmos_predict1.training.objective import (
    GeneratorObjective,
    denoiser_input,
    drop,
    edm_errors,
    initialise,
)

SHAPE = (3, 16, 3, 4, 6)
LEVELS = (0.02, 0.7, 40.0)
CONFIG = TransformerConfig(
    in_channels=49,
    num_attention_heads=2,
    attention_head_dim=12,
    num_layers=2,
    text_embed_dim=8,
    adaln_lora_dim=4,
    max_size=(4, 8, 12),
    rope_scale=(1.0, 1.0, 1.0),
    rope_precision="exact",
)


@pytest.fixture
def network() -> Gen3CTransformer:
    network = Gen3CTransformer(CONFIG).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


@pytest.fixture
def batch() -> LatentBatch:
    latents, warps = torch.randn(SHAPE) / 2, torch.randn(3, 32, 3, 4, 6) / 2
    return LatentBatch(latents, warps, ["a", "b", "c"])


def objective(network: Gen3CTransformer, **settings: float) -> GeneratorObjective:
    return GeneratorObjective(
        network, EdmConfig(**settings), torch.zeros(1, 1, 8), torch.ones(1, 1, 8)
    )


@pytest.mark.parametrize("level", [*LEVELS, 0.0005])
def test_inputs_are_those_of_the_denoiser(level: float) -> None:
    """Given frames that carry another noise, or another scale, than they do in sampling."""
    latents, noise = torch.randn(SHAPE), torch.randn(SHAPE)
    ours = denoiser_input(latents, noise, torch.full((3,), level))
    denoiser = Denoiser(lambda x, _: x, latents[:, :, :1], noise[:, :, :1])
    torch.testing.assert_close(ours, denoiser.constrain(latents + level * noise, level))


@pytest.mark.parametrize("level", [*LEVELS, 0.0005])
def test_errors_are_the_weighted_errors_of_the_estimate(level: float) -> None:
    """Another weight than 1 / c_out^2, another target, or given frames that count."""
    latents, noise, predicted = (torch.randn(SHAPE, dtype=torch.float64) for _ in range(3))
    found = edm_errors(predicted, latents, noise, torch.full((3,), level, dtype=torch.float64))
    x = latents + level * noise
    estimate = c_skip(level) * x + c_out(level) * predicted
    squared = (estimate - latents) ** 2 / c_out(level) ** 2
    first = 1 if level > CONDITION_SIGMA else 0
    torch.testing.assert_close(found, squared[:, :, first:].mean(dim=(1, 2, 3, 4)))


def test_a_perfect_denoiser_has_no_loss() -> None:
    """A target that differs from what the denoiser needs, at any level from 0.0002 to 80."""
    latents, noise = torch.randn(4, *SHAPE[1:]), torch.randn(4, *SHAPE[1:])
    sigma = torch.tensor([0.0002, 0.05, 1.0, 80.0])
    level = sigma.double()[:, None, None, None, None]
    x = latents.double() + level * noise
    perfect = (latents - c_skip(level) * x) / c_out(level)
    assert edm_errors(perfect.float(), latents, noise, sigma).max() < 1e-9


def test_errors_of_an_unaware_network_are_about_one() -> None:
    """A target of another variance: F is meant to have that of 1 at all levels."""
    sigma = torch.tensor(LEVELS)
    found = edm_errors(torch.zeros(SHAPE), torch.randn(SHAPE) / 2, torch.randn(SHAPE), sigma)
    assert ((found > 0.8) & (found < 1.2)).all()


def test_the_loss_at_a_known_level(network: Gen3CTransformer, batch: LatentBatch) -> None:
    """A network that is told another level, scale or condition than the formula has."""
    model = objective(network, log_mean=-0.5, log_std=0.0, dropout=0.0)
    torch.manual_seed(5)
    found = model(batch)["loss"]
    torch.manual_seed(5)
    torch.randn(3)
    noise = torch.randn(SHAPE)
    level = torch.tensor(-0.5).exp().item()
    x = denoiser_input(batch.latents, noise, torch.full((3,), level))
    mask = torch.zeros(3, 1, *SHAPE[2:])
    mask[:, :, 0] = 1
    told = Conditions(torch.zeros(3, 1, 8), mask, batch.warps, 24.0)
    predicted = network(c_in(level) * x, torch.full((3,), -0.5 / 4), told)
    estimate = c_skip(level) * x + c_out(level) * predicted
    errors = (estimate - batch.latents)[:, :, 1:] ** 2 / c_out(level) ** 2
    torch.testing.assert_close(found, errors.mean())


def test_dropped_conditions_are_those_of_the_branch_to_guide_away_from() -> None:
    """Drop-out of the text alone, of the given frames, or of the wrong clips."""
    mask, warps = torch.rand(3, 1, *SHAPE[2:]), torch.randn(3, 32, *SHAPE[2:])
    told = Conditions(torch.randn(3, 2, 8), mask, warps, 24.0)
    negative = torch.randn(3, 2, 8)
    found = drop(told, negative, torch.tensor([False, True, False]))
    other = told.unconditional(negative)
    for index, expected in enumerate((told, other, told)):
        for name in ("text", "mask", "warps"):
            assert torch.equal(getattr(found, name)[index], getattr(expected, name)[index]), name
    assert found.fps == told.fps
    assert torch.equal(other.warps, torch.zeros_like(warps))


def test_the_share_of_dropped_clips(network: Gen3CTransformer) -> None:
    """Drop-out that never or always happens, or that the network does not see."""
    seen: list[Tensor] = []

    def record(_module: object, inputs: tuple) -> None:
        seen.append(inputs[2].warps.abs().amax(dim=(1, 2, 3, 4)))

    network.register_forward_pre_hook(record)
    model = objective(network, dropout=0.25)
    many = LatentBatch(torch.zeros(200, 16, 2, 2, 2), torch.ones(200, 32, 2, 2, 2), [])
    model(many)
    assert 0.15 < (seen[0] == 0).float().mean() < 0.35


@pytest.mark.parametrize("guidance", [0.0, 0.7])
def test_samples_are_those_of_the_command(
    network: Gen3CTransformer, batch: LatentBatch, guidance: float
) -> None:
    """Validation that samples otherwise than `Gen3C.generate`, clip by clip."""
    model = objective(network)
    plan = SamplingPlan(num_steps=3, guidance=guidance, fps=24.0, seeds=(4,))
    found = model(batch, sampling=plan)["latents"]
    carried, noise = condition_noise(SHAPE, 4)[:, :, :1], initial_noise(SHAPE, 4)
    for index in range(3):
        one = slice(index, index + 1)
        mask = torch.zeros(1, 1, *SHAPE[2:])
        mask[:, :, 0] = 1
        told = Conditions(torch.zeros(1, 1, 8), mask, batch.warps[one], 24.0)
        other = told.unconditional(torch.ones(1, 1, 8))

        def predict(x: Tensor, level: Tensor, told=told, other=other) -> Tensor:
            wanted = network(x, level, told)
            return wanted + guidance * (wanted - network(x, level, other))

        denoiser = Denoiser(predict, batch.latents[one, :, :1], carried[one])
        expected = sample(denoiser, noise[one], noise_levels(3), constrain=denoiser.constrain)
        torch.testing.assert_close(found[one], expected, rtol=1e-4, atol=1e-4)


def test_new_weights_begin_as_zero_and_learn(batch: LatentBatch) -> None:
    """Weights whose first output is noise, a part that never gets a gradient, or a huge one."""
    network = Gen3CTransformer(CONFIG)
    initialise(network)
    model = objective(network)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    for step in range(3):
        optimizer.zero_grad()
        loss = model(batch)["loss"]
        loss.backward()
        if step == 0:
            assert 0.7 < loss < 1.4
        optimizer.step()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # There is nothing to attend to in a single token of zeros.
        if "attn2" not in name and "norm2" not in name:
            assert 0 < parameter.grad.norm() < 100, name
