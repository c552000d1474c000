"""A moving average of the weights, which is often better than the weights themselves."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


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
