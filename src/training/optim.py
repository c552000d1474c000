"""How the weights move: AdamW, which parameters decay, and the learning rate of each step."""

from dataclasses import dataclass

import torch
from torch import nn

from ..runtime import InputError


@dataclass
class OptimConfig:
    """AdamW with a linear warm-up to a constant learning rate; defaults as published."""

    learning_rate: float = 1e-4
    warmup_steps: int = 100
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    # Not for norms, biases and the scan's own parameters.
    weight_decay: float = 1e-2
    # Largest global norm of the gradient.
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


def learning_rate(config: OptimConfig, step: int) -> float:
    """The rate of the update after `step` updates: linear to the full one, which it keeps.

    A function of the step alone, so that there is no scheduler to store. The published schedule is
    one step behind and wastes its first update on a rate of 0.
    """
    return config.learning_rate * min(1.0, (step + 1) / max(config.warmup_steps, 1))


def decays(parameter: nn.Parameter) -> bool:
    """Whether weight decay applies: to matrices and kernels.

    Norms, biases and the scan's `A_log`, `D` and `dt_bias` are vectors; zero is no natural value
    of theirs. (The published training decayed everything.)
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
            {"params": groups[False], "weight_decay": 0.0},
        ],
        lr=learning_rate(config, 0),
        betas=(config.beta1, config.beta2),
        eps=config.epsilon,
    )
