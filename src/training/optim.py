"""The optimizer: which parameters decay, the rate of each step, an average of the weights."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..runtime import InputError
from .muon import Muon
from .settings import check_least, check_shares


@dataclass(kw_only=True)
class OptimConfig:
    """The optimizer with a linear warm-up, then a constant or falling rate; defaults as published.

    Attributes:
        method: `adamw`, as published, or `muon`: Muon for the matrices inside of the network, AdamW
            for its outer layers and its vectors (src/training/muon.py).
        learning_rate: The full learning rate.
        warmup_steps: Updates until the full rate is reached.
        schedule: Whether the rate then stays, or falls along a cosine until the end of the run.
        final_share: Share of the full rate at the end of a falling one.
        weight_decay: Not for norms, biases and the scan's own parameters.
        decay_all: Decay those too, as published.
        max_grad_norm: Largest global norm of the gradient.
        accumulation_steps: Batches of an update.
    """

    method: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-4
    warmup_steps: int = 100
    schedule: Literal["constant", "cosine"] = "constant"
    final_share: float = 0.01
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    weight_decay: float = 1e-2
    decay_all: bool = False
    max_grad_norm: float = 1.0
    accumulation_steps: int = 1

    def __post_init__(self) -> None:
        for name in ("learning_rate", "max_grad_norm"):
            if getattr(self, name) <= 0:
                raise InputError(f"optim.{name}", getattr(self, name), "a number above 0")
        check_least("optim", self, {"accumulation_steps": 1, "warmup_steps": 0, "weight_decay": 0})
        check_shares("optim", self, "final_share")


def learning_rate(config: OptimConfig, step: int, progress: float = 0.0) -> float:
    """Returns the rate of the update that follows `step` updates.

    A function of the step and of the `progress` in [0, 1] of the run, so that no scheduler has to
    be stored. (Loshchilov and Hutter 2017, SGDR, equation 5, without restarts. The published
    schedule, a constant, is one step behind: its first update has a rate of 0.)
    """
    rate = config.learning_rate * min(1.0, (step + 1) / max(config.warmup_steps, 1))
    if config.schedule == "constant":
        return rate
    falling = 0.5 * (1 + math.cos(math.pi * progress))
    return rate * (config.final_share + (1 - config.final_share) * falling)


def build_optimizer(
    network: nn.Module, config: OptimConfig, outer: Sequence[str] = ()
) -> torch.optim.AdamW:
    """Returns the optimizer of all parameters of `network`, in groups.

    Matrices and kernels decay. Norms, biases and the scan's `A_log`, `D` and `dt_bias` are vectors,
    for which zero is no natural value (the published training decayed them too, see `decay_all`).
    Frozen parameters have no gradient and do not change; as members they keep their place when a
    later stage trains them. Muon leaves to AdamW what begins with one of the names `outer`, and
    kernels of one channel each, which mix nothing.
    """
    decayed: list[nn.Parameter] = []
    spared: list[nn.Parameter] = []
    matrices: list[nn.Parameter] = []
    for name, parameter in network.named_parameters():
        mixes = parameter.ndim >= 2 and parameter.shape[1] > 1
        inner = config.method == "muon" and mixes and not name.startswith((*outer,))
        if parameter.ndim < 2:
            spared.append(parameter)
        else:
            (matrices if inner else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": config.weight_decay},
        {"params": spared, "weight_decay": config.weight_decay * config.decay_all},
    ]
    if matrices:
        groups += [{"params": matrices, "weight_decay": config.weight_decay, "matrices": True}]
    optimizer = torch.optim.AdamW if config.method == "adamw" else Muon
    return optimizer(
        groups,
        lr=learning_rate(config, 0),
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        # One kernel for all parameters; None leaves the choice to torch.
        fused=True if all(part.is_cuda for part in network.parameters()) else None,
    )


class MovingAverage:
    """`a <- d a + (1 - d) w` after update n of the training, with `d = min(decay, (1+n) / (10+n))`.

    The average starts as a copy of the weights and has their type, device and shards.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.values = {
            name: parameter.detach().clone() for name, parameter in network.named_parameters()
        }

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after update number `step`, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own = dict(self.network.named_parameters())
        averages = list(self.values.values())
        # All at once: a few kernels instead of two for each parameter.
        torch._foreach_lerp_(averages, [own[name] for name in self.values], 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Put the average into the network for the block, and its own weights back afterwards."""
        own = {name: value.detach().clone() for name, value in self.network.named_parameters()}
        _copy(self.network, self.values)
        try:
            yield
        finally:
            _copy(self.network, own)


@torch.no_grad()
def _copy(network: nn.Module, values: Mapping[str, Tensor]) -> None:
    for name, parameter in network.named_parameters():
        parameter.copy_(values[name])
