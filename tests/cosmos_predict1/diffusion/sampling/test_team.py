"""The work of a clip that cannot be shared equally is refused."""

import re

import pytest
import torch
from tiny_generator import NETWORK

from cosmos_predict1.diffusion.config import ClipSettings, sdg_config
from cosmos_predict1.diffusion.flags import static_parser
from cosmos_predict1.diffusion.hardware import HardwareConfig
from cosmos_predict1.diffusion.sampling.team import check_shares
from src.runtime import InputError

SETTINGS = ClipSettings(
    height=48,
    width=80,
    num_frames=9,
    piece_frames=9,
    fps=24.0,
    num_steps=1,
    guidance=0.0,
)


@pytest.mark.parametrize(
    ("share", "branches", "words"),
    [
        (1, False, None),
        (2, False, None),
        (4, False, "--context_parallel: got 4, expected a divisor of the 6 attention heads"),
        (3, False, None),
        (6, False, None),
        (6, True, "--guidance_parallel: got True, expected a --guidance above 0"),
    ],
)
def test_shares_that_are_not_equal(share: int, branches: bool, words: str | None) -> None:
    """Tokens or heads that are left over, after minutes of loading."""
    hardware = HardwareConfig(
        device=torch.device("cpu"), context_parallel=share, guidance_parallel=branches
    )
    network = type(NETWORK)(num_attention_heads=6)
    if words is None:
        check_shares(hardware, network, SETTINGS)
        return
    with pytest.raises(InputError, match=re.escape(words)):
        check_shares(hardware, network, SETTINGS)


def test_tokens_that_are_left_over() -> None:
    """A last token that no process computes: 2 x 3 x 5 over 4 processes."""
    hardware = HardwareConfig(device=torch.device("cpu"), context_parallel=4)
    with pytest.raises(InputError, match="a divisor of the 30 tokens of a clip"):
        check_shares(hardware, type(NETWORK)(num_attention_heads=32), SETTINGS)


@pytest.mark.parametrize(
    ("flags", "processes", "fits"),
    [
        (["--context_parallel", "2"], "4", True),
        (["--context_parallel", "2", "--guidance_parallel"], "4", True),
        (["--context_parallel", "3"], "4", False),
        (["--guidance_parallel"], "1", False),
        (["--context_parallel", "0"], "1", False),
    ],
)
def test_teams_fill_the_launch(
    monkeypatch: pytest.MonkeyPatch, flags: list[str], processes: str, fits: bool
) -> None:
    """Processes that belong to no team, and wait for ever."""
    monkeypatch.setenv("WORLD_SIZE", processes)
    arguments = static_parser("").parse_args([*flags, "--device", "cpu"])
    if fits:
        assert sdg_config(arguments).hardware.processes_per_clip in (2, 4)
        return
    with pytest.raises(InputError, match="_parallel"):
        sdg_config(arguments)
