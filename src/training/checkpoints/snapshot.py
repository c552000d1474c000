"""The state of a running training as plain tensors, and back.

Optimizer states go by the name of their parameter. The functions are collective calls; only
process 0 has the tensors of a checkpoint, see `transfer.py`.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from ...runtime import rank
from .transfer import copied, spread
from .zero import OptimizerState, gather_zero, scatter_zero, zero_optimizer


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
