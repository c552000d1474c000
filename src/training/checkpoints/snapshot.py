"""The state of a running training as plain tensors, and back.

Optimizer states go by the name of their parameter. The functions are collective calls. Process 0
alone has the tensors of a checkpoint; it gives the others one at a time, so that no other process
has the whole state in memory. With ZeRO-2 (Rajbhandari et al. 2020, by DeepSpeed) the weights stay
whole in float32, so that any launch reads the checkpoints.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from ...runtime import rank

OptimizerState = dict[str, dict[str, Tensor]]

MOMENTS = ("exp_avg", "exp_avg_sq")


def optimizer_state(network: nn.Module, optimizer: torch.optim.Optimizer) -> OptimizerState:
    """Returns the optimizer's state of each parameter; empty before its first step."""
    zero = zero_optimizer(optimizer)
    if zero is not None:
        return gather_zero(network, zero)
    return {
        name: copied(optimizer.state[parameter])
        for name, parameter in network.named_parameters()
        if parameter in optimizer.state
    }


def load_optimizer_state(
    network: nn.Module, optimizer: torch.optim.Optimizer, state: OptimizerState
) -> None:
    """Restore the optimizer's state; parameters without one in `state` have none."""
    zero = zero_optimizer(optimizer)
    if zero is not None:
        scatter_zero(network, zero, state)
        return
    counters = {
        id(parameter): parameter.device if group.get("fused") else torch.device("cpu")
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in network.named_parameters():
        if name in state:
            # Counters have no dimension; only the fused AdamW wants them beside the parameters.
            counter = counters[id(parameter)]
            optimizer.state[parameter] = {
                key: spread(value, parameter) if value.ndim else value.to(counter, copy=True)
                for key, value in state[name].items()
            }


def load_weights(network: nn.Module, weights: Mapping[str, Tensor] | None) -> None:
    """Copy the whole weights that process 0 has into the networks of all processes.

    The network is not sharded yet.
    """
    if rank() == 0:
        assert weights is not None, "no weights in process 0"
        network.load_state_dict(dict(weights), strict=True)
    if dist.is_initialized():
        for value in network.state_dict().values():
            dist.broadcast(value, 0)


def derived_seed(seed: int, rank: int, step: int) -> int:
    """Returns the seed of a process from `step` on; other steps and processes have other seeds.

    A sum would give process 1 at one step the numbers of process 0 at the next.
    """
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1)[0])


def random_state(device: torch.device) -> dict[str, Any]:
    """Returns the state of all generators of this process, as tensors and numbers only."""
    version, words, gauss = random.getstate()
    numpy_state: Any = np.random.get_state(legacy=False)
    return {
        "python": [version, list(words), gauss],
        "numpy": {
            "key": torch.from_numpy(numpy_state["state"]["key"].astype(np.int64)),
            "pos": int(numpy_state["state"]["pos"]),
            "has_gauss": int(numpy_state["has_gauss"]),
            "gauss": float(numpy_state["gauss"]),
        },
        "torch": torch.get_rng_state(),
        "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
    }


def set_random_state(state: Mapping[str, Any], device: torch.device) -> None:
    """Set all generators of this process to a `random_state`."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    stored = state["numpy"]
    key = stored["key"].numpy().astype(np.uint32)
    gaussian = (stored["has_gauss"], stored["gauss"])
    np.random.set_state(("MT19937", key, stored["pos"], *gaussian))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["device"] is not None:
        torch.cuda.set_rng_state(state["device"], device)


def gathered(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Returns the whole of a tensor on its device; a collective call if it is sharded."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def copied(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns copies on the CPU in process 0 and nothing in the others; all processes call it."""
    copies = {}
    for name, tensor in tensors.items():
        whole = gathered(tensor)
        if rank() == 0:
            copies[name] = whole.detach().to("cpu", copy=True)
    return copies


def outline(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors without their numbers, on the meta device; counters stay as they are."""
    return {name: value.to("meta") if value.ndim else value for name, value in tensors.items()}


def spread(value: Shaped[Tensor, "..."], like: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Returns the tensor of process 0 on the device of `like`, sharded as that is.

    A collective call; the other processes give an `outline`.
    """
    placed = torch.empty_like(value, device=like.device) if value.is_meta else value.to(like.device)
    if dist.is_initialized():
        placed = placed.contiguous()
        dist.broadcast(placed, 0)
    if isinstance(like, DTensor):
        return distribute_tensor(placed, like.device_mesh, like.placements)
    return placed


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
