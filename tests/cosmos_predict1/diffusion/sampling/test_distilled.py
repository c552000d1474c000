"""Sampling with distilled weights: levels, noise in between, and what a user may ask for."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cosmos_predict1.diffusion.config import SamplingConfig, clip_settings
from cosmos_predict1.diffusion.model.architecture import (
    SamplingDefaults,
    TransformerConfig,
    parse_config,
    read_config,
    write_config,
)
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.model.speed import Shortcuts, SpeedConfig
from cosmos_predict1.diffusion.sampling.distilled import denoise_levels, fresh_noise
from cosmos_predict1.diffusion.sampling.recipe import SamplingPlan, sample_latents
from cosmos_predict1.diffusion.sampling.sampler import initial_noise
from cosmos_predict1.diffusion.sampling.step_cache import CountedNetwork
from cosmos_predict1.training.distillation.config import DistillTrainConfig
from src.runtime import InputError

LEVELS = (80.0, 7.44, 2.49, 0.83)


def distilled(config: TransformerConfig) -> TransformerConfig:
    sampling = replace(config.sampling, levels=LEVELS, num_steps=4, guidance=0.0)
    return replace(config, sampling=sampling)


def test_each_estimate_gets_new_noise_of_the_next_level() -> None:
    """Noise that is kept, scaled by another level, or added to the last estimate."""
    seen: list[tuple[Tensor, float]] = []
    drawn = iter(torch.randn(3, 5))
    noise = torch.randn(5)

    def denoise(x: Tensor, sigma: float) -> Tensor:
        seen.append((x, sigma))
        return x / 10

    fresh = list(drawn)
    draws = iter(fresh)
    found = denoise_levels(denoise, noise, LEVELS, lambda: next(draws))
    assert [sigma for _, sigma in seen] == list(LEVELS)
    expected = 80 * noise
    for (x, _), following, new in zip(
        seen, (*LEVELS[1:], 0.0), [*fresh, torch.zeros(5)], strict=True
    ):
        torch.testing.assert_close(x, expected)
        expected = x / 10 + following * new
    torch.testing.assert_close(found, expected)


def test_new_noise_is_that_of_each_seed_and_not_the_first() -> None:
    """A batch whose clips depend on their neighbours, or noise that repeats."""
    draw = fresh_noise((1, 2, 3), (5, 9), torch.device("cpu"))
    alone = fresh_noise((1, 2, 3), (9,), torch.device("cpu"))
    first, second = draw(), draw()
    assert torch.equal(first[1:], alone()) and torch.equal(second[1:], alone())
    assert not torch.equal(first, second)
    assert not torch.equal(first[:1], initial_noise((1, 2, 3), 5))


def test_distilled_weights_are_called_once_for_each_level(tiny_config: TransformerConfig) -> None:
    """A branch without warps, a fifth forward, other levels, or steps that nobody trained."""
    network = Gen3CTransformer(distilled(tiny_config)).eval()
    seen: list[tuple[int, Tensor]] = []
    network.register_forward_pre_hook(lambda _, inputs: seen.append((len(inputs[0]), inputs[1])))
    first, warps = torch.randn(2, 16, 1, 4, 6), torch.randn(2, 8, 3, 4, 6)
    texts = (torch.zeros(1, 1, 8), torch.zeros(1, 1, 8))
    plan = SamplingPlan(num_steps=4, guidance=0.0, fps=24.0, seeds=(1, 2))
    steps: list[int] = []
    latents = sample_latents(
        network, first, warps, texts, plan, progress=lambda step, _: steps.append(step)
    )
    assert steps == [0, 1, 2, 3] and [count for count, _ in seen] == [2] * 4
    levels = [(4 * level[0]).exp().item() for _, level in seen]
    assert levels == pytest.approx(LEVELS, rel=1e-4)
    assert torch.equal(latents[:, :, :1], first)
    counted = CountedNetwork(network)
    assert torch.equal(sample_latents(counted, first, warps, texts, plan), latents)
    assert counted.forwards == 4
    alone = sample_latents(network, first[1:], warps[1:], texts, replace(plan, seeds=(2,)))
    torch.testing.assert_close(alone, latents[1:], rtol=1e-4, atol=1e-4)
    for other in ({"num_steps": 35}, {"guidance": 1.0}):
        with pytest.raises(InputError, match="distilled"):
            sample_latents(network, first, warps, texts, replace(plan, **other))


def test_the_configuration_says_that_weights_are_distilled(
    tiny_config: TransformerConfig, tmp_path: Path
) -> None:
    """Levels that a file loses, or that change the files of all other weights."""
    config = distilled(tiny_config)
    write_config(config, tmp_path)
    assert read_config(tmp_path) == config
    write_config(tiny_config, tmp_path)
    assert "levels" not in (tmp_path / "config.json").read_text()
    cases = (
        ({"levels": [2.0, 80.0], "num_steps": 2, "guidance": 0.0}, "falling"),
        ({"levels": [80.0, "a"], "num_steps": 2, "guidance": 0.0}, "levels"),
        ({"levels": [80.0, 2.0], "num_steps": 35, "guidance": 0.0}, "num_steps"),
        ({"levels": [80.0, 2.0], "num_steps": 2, "guidance": 1.0}, "guidance"),
        ({"levels": [80.0, 2.0], "num_steps": 2, "guidance": 0.0, "initial_noise": 0.5}, "all of"),
    )
    for extras, message in cases:
        with pytest.raises(InputError, match=message):
            parse_config("config.json", {"gen3c": extras})


def test_flags_that_distilled_weights_cannot_do() -> None:
    """Steps or guidance that are taken in silence; the default that is refused."""
    sampling = SamplingDefaults(levels=LEVELS, num_steps=4, guidance=0.0, num_frames=17)
    network = TransformerConfig(sampling=sampling)
    for flags in (SamplingConfig(), SamplingConfig(num_steps=4, guidance=0.0)):
        settings = clip_settings(flags, network, max_latent_frames=16, moving=False)
        assert (settings.num_steps, settings.guidance) == (4, 0.0)
    for flags, message in (
        (SamplingConfig(num_steps=35), "num_steps: got 35, expected 4.*80, 7.44, 2.49, 0.83"),
        (SamplingConfig(guidance=1.0), "guidance: got 1.0, expected 0"),
    ):
        with pytest.raises(InputError, match=message):
            clip_settings(flags, network, max_latent_frames=16, moving=False)
    settings = clip_settings(
        SamplingConfig(),
        network,
        max_latent_frames=16,
        moving=False,
        speed=SpeedConfig(speed="fast"),
    )
    assert (settings.num_steps, settings.shortcuts) == (4, Shortcuts())
    speed = SpeedConfig(sigma_stop=0.02)
    with pytest.raises(InputError, match="--sigma_stop: got 0.02, expected none for distilled"):
        clip_settings(SamplingConfig(), network, max_latent_frames=16, moving=False, speed=speed)


def test_weights_may_ask_for_less_of_the_initial_noise(
    tiny_config: TransformerConfig, tmp_path: Path
) -> None:
    """A share that a wrapper hides, that reaches given frames, or that a file loses."""
    config = replace(tiny_config, sampling=replace(tiny_config.sampling, initial_noise=0.25))
    write_config(config, tmp_path)
    assert read_config(tmp_path) == config
    write_config(tiny_config, tmp_path)
    assert "initial_noise" not in (tmp_path / "config.json").read_text()
    for value in (-0.1, 1.5, float("nan"), True):
        with pytest.raises(InputError, match="initial_noise"):
            parse_config("config.json", {"gen3c": {"initial_noise": value}})

    first, warps = torch.randn(1, 16, 1, 4, 6), torch.randn(1, 8, 3, 4, 6)
    texts = (torch.zeros(1, 1, 8), torch.zeros(1, 1, 8))
    plan = SamplingPlan(num_steps=1, guidance=0.0, fps=24.0, seeds=(1,))

    def states(config: TransformerConfig, share: float | None = None) -> Tensor:
        network = CountedNetwork(Gen3CTransformer(config).eval())
        seen: list[Tensor] = []
        network.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        sample_latents(network, first, warps, texts, replace(plan, initial_noise=share))
        return seen[0]

    whole, part = states(tiny_config), states(config)
    assert torch.equal(part[:, :, :1], whole[:, :, :1])
    torch.testing.assert_close(part[:, :, 1:], 0.25 * whole[:, :, 1:])
    assert torch.equal(states(config, share=1.0), whole)


def test_students_begin_with_all_of_the_noise() -> None:
    """A teacher's share, which no distilled weights may have."""
    teacher = SamplingDefaults(guidance=0.0, initial_noise=0.5)
    assert DistillTrainConfig().student_sampling(teacher).initial_noise == 1
