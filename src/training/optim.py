"""AdamW: the parameters that decay, and the learning rate of each step."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ..runtime import InputError
from .settings import check_least, check_shares


@dataclass(kw_only=True)
class OptimConfig:
    """AdamW with a linear warm-up, then a constant or falling rate; defaults as published.

    Attributes:
        learning_rate: The full learning rate.
        warmup_steps: Updates until the full rate is reached.
        schedule: Whether the rate then stays, or falls along a cosine until the end of the run.
        final_share: Share of the full rate at the end of a falling one.
        weight_decay: Not for norms, biases and the scan's own parameters.
        decay_all: Decay those too, as published.
        max_grad_norm: Largest global norm of the gradient.
        accumulation_steps: Batches of an update.
    """

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


def build_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """Returns AdamW over all parameters of `network` in two groups: decayed and not.

    Matrices and kernels decay. Norms, biases and the scan's `A_log`, `D` and `dt_bias` are vectors,
    for which zero is no natural value (the published training decayed them too, see `decay_all`).
    Frozen parameters have no gradient and do not change; as members they keep their place when a
    later stage trains them.
    """
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in network.parameters():
        groups[parameter.ndim >= 2].append(parameter)
    return torch.optim.AdamW(
        [
            {"params": groups[True], "weight_decay": config.weight_decay},
            {"params": groups[False], "weight_decay": config.weight_decay * config.decay_all},
        ],
        lr=learning_rate(config, 0),
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
        # One kernel for all parameters; None leaves the choice to torch.
        fused=True if all(part.is_cuda for part in network.parameters()) else None,
    )
