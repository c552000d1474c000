"""DeepSpeed's ZeRO-2: what is refused, and how parameters are grouped for it."""

import importlib.machinery

import pytest
import torch
from torch import nn

from src.runtime import InputError
from src.training.checkpoints.snapshot import group_by_age, zero_optimizer
from src.training.loop import launch
from src.training.loop.launch import zero_plugin
from src.training.optim import OptimConfig, build_optimizer
from src.training.settings import LoopConfig

REFUSED = {
    "ACCELERATE_DEEPSPEED_ZERO_STAGE": ["1", "3"],
    "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": ["cpu"],
    "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": ["nvme"],
    "ACCELERATE_DEEPSPEED_CONFIG_FILE": ["zero3.json"],
}
CASES = [(name, value) for name, values in REFUSED.items() for value in values]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if DeepSpeed were there, in a launch without settings."""
    spec = importlib.machinery.ModuleSpec("deepspeed", None)
    monkeypatch.setattr(launch, "find_spec", lambda name: spec)
    for name in (*REFUSED, "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_a_missing_deepspeed_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback of accelerate instead of what to install."""
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="not installed, expected `pip install deepspeed`"):
        zero_plugin(LoopConfig(), OptimConfig())


@pytest.mark.parametrize(("name", "value"), CASES)
def test_other_kinds_are_refused(
    installed: None, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """ZeRO-3, whose weights are cut up as well and would be saved in parts, or offloading."""
    monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match=f"{name}.*{value}"):
        zero_plugin(LoopConfig(), OptimConfig())


def test_a_launch_without_a_launcher_is_refused(installed: None) -> None:
    """DeepSpeed looking for MPI, for minutes, because `python train.py` started it."""
    with pytest.raises(InputError, match="accelerate launch"):
        zero_plugin(LoopConfig(), OptimConfig())


def test_groups_have_one_age_and_no_frozen_parameters() -> None:
    """Parameters that join later and are updated as if they were old; groups without any."""
    network = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 1))
    optimizer = build_optimizer(network, OptimConfig(weight_decay=0.5))
    network[1].requires_grad_(False)
    network[0].bias.requires_grad_(False)
    network[2].bias.requires_grad_(False)
    group_by_age(network, optimizer, {"0.weight": {"step": torch.tensor(7.0)}})
    members = [[id(parameter) for parameter in group["params"]] for group in optimizer.param_groups]
    assert members == [[id(network[2].weight)], [id(network[0].weight)]]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.5]
    assert len({group["lr"] for group in optimizer.param_groups}) == 1


def test_optimizers_of_other_launches_are_left_alone() -> None:
    """Bit-equal resuming of other launches that goes through DeepSpeed's functions."""
    optimizer = build_optimizer(nn.Linear(2, 2), OptimConfig())
    assert zero_optimizer(optimizer) is None
