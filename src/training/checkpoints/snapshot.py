"""The state of a running training as plain tensors on the CPU, and back.

Sharded tensors become whole, on every process; what is read is cut up again. Optimizer states go
by the name of their parameter.
"""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.distributed.tensor import DTensor, distribute_tensor

from .zero import OptimizerState, gather_zero, scatter_zero, zero_optimizer


def whole(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """A copy on the CPU of a tensor, of all its shards; a collective call where it is sharded."""
    return gathered(tensor).detach().to("cpu", copy=True)


def gathered(tensor: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """A tensor itself, or all its shards put together on the device; then a collective call."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def placed_like(value: Shaped[Tensor, "..."], like: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """A whole tensor where `like` is, and cut up as that is."""
    if isinstance(like, DTensor):
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value.to(like.device)


def optimizer_state(network: nn.Module, optimizer: torch.optim.Optimizer) -> OptimizerState:
    """What the optimizer remembers of each parameter of `network`; empty before its first step."""
    zero = zero_optimizer(optimizer)
    if zero is not None:
        return gather_zero(network, zero)
    return {
        name: {key: whole(value) for key, value in optimizer.state[parameter].items()}
        for name, parameter in network.named_parameters()
        if parameter in optimizer.state
    }


def load_optimizer_state(
    network: nn.Module, optimizer: torch.optim.Optimizer, state: OptimizerState
) -> None:
    """Give back what the optimizer knew; parameters without a state start without one."""
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
                key: placed_like(value, parameter) if value.ndim else value.to(counter, copy=True)
                for key, value in state[name].items()
            }


def load_weights(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Copy whole tensors into the parameters and buffers of a network that is not sharded."""
    network.load_state_dict(dict(weights), strict=True)


def derived_seed(seed: int, rank: int, step: int) -> int:
    """The seed of what a process draws from `step` on; unrelated to those of other numbers.

    A sum would give process 1 at one step the numbers of process 0 at the next.
    """
    return int(np.random.SeedSequence([seed, rank, step]).generate_state(1)[0])


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of all generators of this process, as tensors and numbers only."""
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
    """Continue all generators of this process where `random_state` was called."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    stored = state["numpy"]
    key = stored["key"].numpy().astype(np.uint32)
    gaussian = (stored["has_gauss"], stored["gauss"])
    np.random.set_state(("MT19937", key, stored["pos"], *gaussian))
    torch.set_rng_state(state["torch"])
    if device.type == "cuda" and state["device"] is not None:
        torch.cuda.set_rng_state(state["device"], device)
