"""ZeRO-2 by DeepSpeed: gradients and the optimizer's state are sharded between the processes.

The weights stay whole in float32, so any launch reads the checkpoints. (Rajbhandari et al. 2020,
ZeRO: Memory Optimizations Toward Training Trillion Parameter Models.)
"""

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ...runtime import InputError
from ..optim import OptimConfig
from ..settings import LoopConfig
from .transfer import copied, spread

if TYPE_CHECKING:
    from accelerate.utils import DeepSpeedPlugin

OptimizerState = dict[str, dict[str, Tensor]]

SOURCE = "accelerate configuration"
MOMENTS = ("exp_avg", "exp_avg_sq")


def zero_requested() -> bool:
    """Whether `accelerate launch` asks for DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"


def zero_plugin(loop: LoopConfig, optim: OptimConfig) -> "DeepSpeedPlugin":
    """Returns ZeRO-2 with the settings of the run; no file of DeepSpeed's is read.

    Raises:
        InputError: DeepSpeed is not installed, another stage of ZeRO was asked for, or no launcher
            started the processes.
    """
    if find_spec("deepspeed") is None:
        expected = "`pip install deepspeed`, or another launch of configs/accelerate"
        raise InputError(SOURCE, "DeepSpeed, which is not installed", expected)
    wanted = {
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": ("2", "zero_stage: 2 (configs/accelerate)"),
        "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": ("none", "optimizer states on the GPU"),
        "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": ("none", "weights on the GPU"),
        "ACCELERATE_DEEPSPEED_CONFIG_FILE": ("none", "no file: `train.py` has these settings"),
    }
    for name, (only, expected) in wanted.items():
        value = os.environ.get(name, only)
        if value != only:
            raise InputError(f"{SOURCE}, {name}", value, expected)
    if "LOCAL_RANK" not in os.environ:
        raise InputError(SOURCE, "DeepSpeed without a launcher", "`accelerate launch train.py ...`")
    from accelerate.utils import DeepSpeedPlugin, compare_versions

    if not compare_versions("deepspeed", ">=", "0.19"):
        raise InputError(SOURCE, "an old DeepSpeed", "version 0.19 or later")
    plugin = DeepSpeedPlugin(
        gradient_accumulation_steps=optim.accumulation_steps,
        gradient_clipping=optim.max_grad_norm,
        zero_stage=2,
    )
    settings: dict[str, Any] = plugin.deepspeed_config
    settings["train_micro_batch_size_per_gpu"] = loop.batch_size
    if loop.mixed_precision == "bf16":
        # DeepSpeed's own bf16 would round the weights and the moving average. An empty list of
        # modules keeps the sum of the gradients in float32.
        settings["torch_autocast"] = {
            "enabled": True,
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        }
    return plugin


def group_by_age(
    network: nn.Module, optimizer: torch.optim.Optimizer, state: OptimizerState
) -> None:
    """Regroup the parameters by the number of their updates in `state`; frozen ones are dropped.

    ZeRO has one counter a group, and fails on groups without trained parameters.
    """
    ages = {
        parameter: int(state[name]["step"]) if name in state else 0
        for name, parameter in network.named_parameters()
    }
    groups = []
    for group in optimizer.param_groups:
        trained = [parameter for parameter in group["params"] if parameter.requires_grad]
        for age in sorted({ages[parameter] for parameter in trained}):
            members = [parameter for parameter in trained if ages[parameter] == age]
            groups.append({**group, "params": members})
    optimizer.param_groups[:] = groups


def zero_optimizer(optimizer: torch.optim.Optimizer) -> Any | None:
    """Returns DeepSpeed's optimizer inside the prepared one; None in other launches."""
    inner = getattr(optimizer, "optimizer", None)
    return inner if hasattr(inner, "single_partition_of_fp32_groups") else None


def gather_zero(network: nn.Module, zero: Any) -> OptimizerState:
    """Returns the optimizer's state of each parameter in process 0; empty before its first step.

    A collective call.
    """
    from deepspeed.utils import safe_get_full_optimizer_state
    from deepspeed.utils.mixed_precision_linkage import lazy_init_hp_params_optimizer_state

    names = {parameter: name for name, parameter in network.named_parameters()}
    state: OptimizerState = {}
    for partition, members in _groups(zero):
        if "step" not in zero.optimizer.state.get(partition, {}):
            continue
        # DeepSpeed links all groups after the first one's step, before the others have a state.
        lazy_init_hp_params_optimizer_state(members, partition, zero.optimizer.state)
        step = zero.optimizer.state[partition]["step"]
        for parameter in members:
            moments = {key: safe_get_full_optimizer_state(parameter, key) for key in MOMENTS}
            state[names[parameter]] = copied({"step": step, **moments})
    return state


def scatter_zero(network: nn.Module, zero: Any, state: OptimizerState) -> None:
    """Give every process its shard of a state; the groups are those of `group_by_age`."""
    from deepspeed.utils import safe_set_full_optimizer_state
    from deepspeed.utils.mixed_precision_linkage import lazy_init_hp_params_optimizer_state

    names = {parameter: name for name, parameter in network.named_parameters()}
    for (partition, members), group in zip(_groups(zero), zero.param_groups, strict=True):
        device = partition.device if group.get("fused") else torch.device("cpu")
        steps = {float(state[name]["step"]) for name in map(names.get, members) if name in state}
        assert len(steps) <= 1, f"parameters of one group after {steps} updates"
        zero.optimizer.state[partition] = {
            "step": torch.tensor(max(steps, default=0.0), device=device),
            **{key: torch.zeros_like(partition) for key in MOMENTS},
        }
        lazy_init_hp_params_optimizer_state(members, partition, zero.optimizer.state)
        for parameter in members:
            for key in MOMENTS if names[parameter] in state else ():
                value = spread(state[names[parameter]][key], parameter)
                safe_set_full_optimizer_state(parameter, value, key)


def _groups(zero: Any) -> list[tuple[torch.Tensor, list[nn.Parameter]]]:
    """Returns for each group the flat shard of this process and all its parameters."""
    return list(zip(zero.single_partition_of_fp32_groups, zero.bit16_groups, strict=True))
