"""The rungs of --speed, their switches, and the forwards that they take."""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import pytest
import torch
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.latents import Conditions, Prepared
from cosmos_predict1.diffusion.config import sdg_config
from cosmos_predict1.diffusion.flags import SPEEDS, static_parser
from cosmos_predict1.diffusion.model.denoiser import Network, c_in, c_out, c_skip
from cosmos_predict1.diffusion.model.levels import noise_levels
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.diffusion.model.speed import RUNGS, Shortcuts, Speed, SpeedConfig
from cosmos_predict1.diffusion.sampling.recipe import SamplingPlan, sample_latents
from cosmos_predict1.diffusion.sampling.step_cache import CountedNetwork, StepCache
from src.runtime import InputError

PLAN = SamplingPlan(num_steps=35, guidance=1.0, fps=24.0, seeds=(3,))
EVERYTHING = (0.0, math.inf)


class Gaussian:
    """The best network for Gaussian data whose mean is that of the text; notes its levels."""

    deviation = 0.8

    def __init__(self) -> None:
        self.seen: dict[int, list[float]] = {}

    def prepare(self, conditions: Conditions) -> Prepared:
        """The text alone, as the only tensor of a branch."""
        nothing = torch.zeros(1, 1)
        channels = torch.zeros(len(conditions.text), 1, 1, 1, 1)
        return Prepared(conditions.text, channels, nothing, nothing, nothing[None])

    def __call__(self, x: Tensor, c_noise: Tensor, conditions: Prepared) -> Tensor:
        sigma = math.exp(4 * c_noise[0].item())
        self.seen.setdefault(id(conditions), []).append(sigma)
        noisy, mean = x / c_in(sigma), conditions.text.mean()
        gain = self.deviation**2 / (self.deviation**2 + sigma**2)
        estimate = mean + gain * (noisy - mean)
        return (estimate - c_skip(sigma) * noisy) / c_out(sigma)


def sampled(network: Network, plan: SamplingPlan) -> tuple[Tensor, Tensor, int]:
    """A clip of 3 latent frames with one given: its latents, the given one, the forwards."""
    torch.manual_seed(5)
    first, warps = torch.randn(1, 16, 1, 4, 6), torch.randn(1, 8, 3, 4, 6)
    text = torch.randn(1, 2, 8)
    counted = CountedNetwork(network)
    latents = sample_latents(counted, first, warps, texts=(text, -text), plan=plan)
    return latents, first, counted.forwards


def plan_of(speed: Speed, full: int = 35, guidance: float = 1.0) -> SamplingPlan:
    steps, shortcuts = SpeedConfig(speed=speed).choose(full, None, guidance)
    return replace(PLAN, num_steps=steps, shortcuts=shortcuts, guidance=guidance)


def test_the_flags_are_the_rungs() -> None:
    """A rung that no command knows, or the other way round."""
    assert SPEEDS == tuple(RUNGS) == get_args(Speed)


@pytest.mark.parametrize(
    ("speed", "least", "most"), [("exact", 70, 70), ("same", 29, 29), ("fast", 12, 20)]
)
def test_forwards_of_a_full_run(speed: Speed, least: int, most: int) -> None:
    """A rung that saves less than it says, or an uncounted branch."""
    assert least <= sampled(Gaussian(), plan_of(speed))[2] <= most


def test_exact_is_the_published_run(tiny_network: Gen3CTransformer) -> None:
    """A default that changes one bit of a clip."""
    plan = plan_of("exact")
    assert plan.shortcuts == Shortcuts() and torch.equal(plan.levels, noise_levels(35))
    assert plan == PLAN


def test_an_interval_around_all_levels_is_full_guidance(tiny_network: Gen3CTransformer) -> None:
    """A level at a bound that is left out, or guidance of another weight."""
    plan = replace(PLAN, num_steps=5)
    levels = plan.levels.tolist()
    whole, _, forwards = sampled(tiny_network, plan)
    assert forwards == 10
    for interval in (EVERYTHING, (levels[-2], levels[0])):
        inside = replace(plan, shortcuts=Shortcuts(guidance_interval=interval))
        assert torch.equal(sampled(tiny_network, inside)[0], whole)


def test_guidance_ends_outside_of_the_interval(tiny_network: Gen3CTransformer) -> None:
    """A second branch that is evaluated for nothing, or that is missed where it counts."""
    plan = replace(PLAN, num_steps=6)
    levels = plan.levels.tolist()
    inside = replace(plan, shortcuts=Shortcuts(guidance_interval=(levels[3], levels[1])))
    assert sampled(tiny_network, inside)[2] == 6 + 3
    outside = replace(plan, shortcuts=Shortcuts(guidance_interval=(200.0, 300.0)))
    unguided = replace(plan, guidance=0.0)
    assert torch.equal(sampled(tiny_network, outside)[0], sampled(tiny_network, unguided)[0])


def test_the_last_level_is_that_of_the_stop() -> None:
    """Levels below the stop, a level lost at the bound, or a first one that a high stop drops."""
    levels = Shortcuts(sigma_stop=0.02).levels(35)
    assert (
        len(levels) == 30
        and levels[-1] == 0
        and levels[-2].item() == pytest.approx(0.0205161, rel=1e-5)
    )
    full = noise_levels(35)
    assert torch.equal(Shortcuts(sigma_stop=full[20].item()).levels(35)[:-1], full[:21])
    assert Shortcuts(sigma_stop=79.9999).levels(3).tolist() == pytest.approx([80, 0])


@pytest.mark.parametrize("speed", ["same", "fast"])
@pytest.mark.parametrize("full", [35, 12, 4])
def test_given_frames_stay_as_given(
    tiny_network: Gen3CTransformer, speed: Speed, full: int
) -> None:
    """A solver or a cache whose history moves the first frame."""
    latents, first, _ = sampled(tiny_network, plan_of(speed, full))
    assert torch.equal(latents[:, :, :1], first)


def test_the_cache_keeps_the_ends_of_both_branches() -> None:
    """A state that both branches share, or a first or last step that is skipped."""
    network = Gaussian()
    shortcuts = Shortcuts(guidance_interval=(0.3, 80.0), step_cache=1.0)
    plan = replace(PLAN, num_steps=20, shortcuts=shortcuts)
    text = torch.zeros(1, 2, 8)
    sample_latents(
        network,
        torch.randn(1, 16, 1, 4, 6),
        torch.randn(1, 8, 3, 4, 6),
        texts=(text, text),
        plan=plan,
    )
    both = sorted(network.seen.values(), key=lambda levels: levels[-1])
    levels, guided = plan.levels.tolist()[:-1], shortcuts.guided_levels(20)
    for seen, offered in zip(both, (levels, guided), strict=True):
        assert seen[:2] == pytest.approx(offered[:2]) and seen[-1] == pytest.approx(offered[-1])
        assert len(seen) < len(offered) - 2


def test_a_cache_of_threshold_0_is_none(tiny_network: Gen3CTransformer) -> None:
    """An output that is reused although nothing may change."""
    plan = replace(PLAN, num_steps=8)
    whole = sampled(tiny_network, plan)
    cached = StepCache(tiny_network, 0.0, always=())
    again = sampled(cached, plan)
    assert torch.equal(again[0], whole[0])
    off = replace(plan, shortcuts=Shortcuts(step_cache=0.0))
    assert torch.equal(sampled(tiny_network, off)[0], whole[0])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, RUNGS["fast"].shortcuts),
        ({"step_cache": 0.0}, replace(RUNGS["fast"].shortcuts, step_cache=0.0)),
        ({"solver": "euler"}, replace(RUNGS["fast"].shortcuts, solver="euler")),
        ({"sigma_stop": 0.0}, replace(RUNGS["fast"].shortcuts, sigma_stop=0.0)),
        (
            {"guidance_interval": EVERYTHING},
            replace(RUNGS["fast"].shortcuts, guidance_interval=None),
        ),
    ],
)
def test_a_switch_beats_the_rung(given: Mapping[str, object], expected: Shortcuts) -> None:
    """A rung that overrides what was asked for, or a switch that undoes the others."""
    line = ["--input_image_path", "a.png", "--speed", "fast"]
    for name, value in given.items():
        values = value if isinstance(value, tuple) else (value,)
        line += [f"--{name}", *map(str, values)]
    speed = sdg_config(static_parser("").parse_args(line)).speed
    assert speed.choose(35, None, 1.0) == (RUNGS["fast"].num_steps, expected)
    assert speed.choose(35, 30, 1.0)[0] == 30


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--guidance_interval 3 1", "--guidance_interval: got 3 1"),
        ("--guidance_interval -1 1", "--guidance_interval"),
        ("--guidance_interval nan 1", "--guidance_interval"),
        ("--guidance_interval 100 200", "--guidance_interval.*inside"),
        ("--guidance_interval 0 1 --guidance 0", "--guidance_interval.*guidance of 0"),
        ("--sigma_stop -1", "--sigma_stop"),
        ("--sigma_stop 80", "--sigma_stop"),
        ("--sigma_stop nan", "--sigma_stop"),
        ("--step_cache -0.1", "--step_cache"),
        ("--step_cache inf", "--step_cache"),
        ("--step_cache 0.1 --num_steps 3", "--step_cache.*3 levels"),
        ("--solver multistep --num_steps 4 --sigma_stop 1", "--solver.*2 levels"),
    ],
)
def test_switches_that_make_no_sense_are_refused(flags: str, words: str) -> None:
    """A switch that silently does nothing."""
    with pytest.raises(InputError, match=words):
        config = sdg_config(static_parser("").parse_args(flags.split()))
        guidance = 1.0 if config.sampling.guidance is None else config.sampling.guidance
        config.speed.choose(35, config.sampling.num_steps, guidance)


def test_weights_of_few_steps_keep_them() -> None:
    """A rung that thins out the four steps of the small weights."""
    for speed in ("same", "fast"):
        steps, shortcuts = SpeedConfig(speed=speed).choose(4, None, 0.0)
        assert steps == 4 and len(shortcuts.levels(steps)) == 4
        # Without guidance, and with three levels, of which the cache could skip none.
        assert shortcuts == Shortcuts(sigma_stop=0.02, solver="multistep")
        assert SpeedConfig(speed=speed).choose(70, None, 1.0)[0] == 2 * RUNGS[speed].num_steps


def test_the_record_names_what_saves() -> None:
    """A finished clip of before that is refused, or one of another rung that is taken."""
    assert Shortcuts().record == {}
    assert plan_of("same").shortcuts.record == {
        "guidance_interval": [0.3, 80.0],
        "sigma_stop": 0.02,
        "solver": "multistep",
    }
