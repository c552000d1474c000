"""The moving average of the weights."""

import torch
from torch import nn

from src.training.optim import MovingAverage


def test_the_average_follows_its_formula() -> None:
    """A wrong ramp of the decay, a count that starts elsewhere, swapped weights."""
    layer = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(layer.weight)
    average = MovingAverage(layer, decay=0.5)
    expected = 0.0
    for step in range(1, 30):
        nn.init.constant_(layer.weight, float(step))
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * step
        torch.testing.assert_close(average.values["weight"], torch.tensor([[expected]]))


def test_the_average_is_lent_to_the_network_for_a_block() -> None:
    """Weights that stay averaged after a validation, or an average that is changed by it."""
    layer = nn.Linear(2, 2)
    own = layer.weight.detach().clone()
    average = MovingAverage(layer, decay=0.9)
    nn.init.ones_(layer.weight)
    with average.applied():
        assert torch.equal(layer.weight, own)
    assert torch.equal(layer.weight, torch.ones(2, 2))
    assert torch.equal(average.values["weight"], own)
