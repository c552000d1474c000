"""How the weights move: AdamW, which parameters decay, and the learning rate of each step."""

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn

from ..runtime import InputError


@dataclass
class OptimConfig:
    """AdamW with a linear warm-up to a learning rate that stays or falls; defaults as published.

    Attributes:
        learning_rate: the full one.
        warmup_steps: updates until it is reached.
        schedule: whether the rate then stays, or falls along a cosine until the end of the run.
        final_share: of the full rate, with which a falling one ends.
        weight_decay: not for norms, biases and the scan's own parameters.
        decay_all: for those too, as published.
        max_grad_norm: largest global norm of the gradient.
        accumulation_steps: batches of an update.
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
        if self.learning_rate <= 0:
            raise InputError("optim.learning_rate", self.learning_rate, "a number above 0")
        if self.accumulation_steps < 1:
            raise InputError("optim.accumulation_steps", self.accumulation_steps, "at least 1")
        if self.max_grad_norm <= 0:
            raise InputError("optim.max_grad_norm", self.max_grad_norm, "a number above 0")
        if self.warmup_steps < 0 or self.weight_decay < 0:
            value = (self.warmup_steps, self.weight_decay)
            raise InputError("optim.warmup_steps, optim.weight_decay", value, "0 or more")
        if not 0 <= self.final_share <= 1:
            raise InputError("optim.final_share", self.final_share, "a share in [0, 1]")


def learning_rate(config: OptimConfig, step: int, progress: float = 0.0) -> float:
    """The rate of the update after `step` updates: a linear rise, then all or a cosine's share.

    A function of the step and of the `progress` in [0, 1] of the run when the update is made, so
    that there is no scheduler to store. (Loshchilov and Hutter 2017, SGDR, equation 5, without
    restarts. The published schedule, a constant, is one step behind and wastes its first update
    on a rate of 0.)
    """
    rate = config.learning_rate * min(1.0, (step + 1) / max(config.warmup_steps, 1))
    if config.schedule == "constant":
        return rate
    falling = 0.5 * (1 + math.cos(math.pi * progress))
    return rate * (config.final_share + (1 - config.final_share) * falling)


def decays(parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices and kernels.

    Norms, biases and the scan's `A_log`, `D` and `dt_bias` are vectors; zero is no natural value
    of theirs. (The published training decayed everything: `OptimConfig.decay_all`.)
    """
    return parameter.ndim >= 2


def build_optimizer(network: nn.Module, config: OptimConfig) -> torch.optim.AdamW:
    """AdamW over all parameters of `network`, frozen ones too, in two groups: decayed and not.

    Frozen parameters have no gradient and hence are left alone; as members they keep their place
    when a later stage trains them.
    """
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for parameter in network.parameters():
        groups[decays(parameter)].append(parameter)
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
