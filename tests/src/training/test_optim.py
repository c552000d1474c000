"""Which parameters decay, and the learning rate over the steps."""

import pytest
import torch
from torch import nn

from src.models.recon.decoder import DecoderConfig, LatentRecon
from src.runtime import InputError
from src.training.optim import OptimConfig, build_optimizer, learning_rate

SMALL = DecoderConfig(depth=2, width=64, heads=1, attention_every=2)


def test_norms_biases_and_the_parameters_of_the_scan_do_not_decay() -> None:
    """A step size or a norm that is pulled to zero; a matrix that is not."""
    network = LatentRecon(SMALL)
    optimizer = build_optimizer(network, OptimConfig(weight_decay=0.5))
    decay = {
        id(parameter): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    spared = ("bias", "norm.weight", "norm1.weight", "norm2.weight", "A_log", ".D", "dt_bias")
    kinds = {0.5: 0, 0.0: 0}
    for name, parameter in network.named_parameters():
        expected = 0.0 if name.endswith(spared) else 0.5
        assert decay[id(parameter)] == expected, name
        kinds[expected] += 1
    assert all(kinds.values())


@pytest.mark.parametrize("published", [False, True])
def test_an_update_without_gradient_decays_matrices_only(published: bool) -> None:
    """Groups that exist but are not given to the optimizer as such; no way to decay everything."""
    layer = nn.Linear(3, 3)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    options = {"learning_rate": 0.1, "warmup_steps": 0, "weight_decay": 0.5}
    config = OptimConfig(**options, decay_all=published)
    optimizer = build_optimizer(layer, config)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight, torch.full((3, 3), 0.95))
    torch.testing.assert_close(layer.bias, torch.full((3,), 0.95 if published else 1.0))


def test_frozen_parameters_stay_as_they_are() -> None:
    """Weight decay of what a stage does not train."""
    layer = nn.Linear(2, 2)
    layer.weight.requires_grad_(False)
    before = layer.weight.clone()
    optimizer = build_optimizer(layer, OptimConfig(weight_decay=0.5))
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert torch.equal(layer.weight, before)


def test_the_rate_rises_linearly_and_stays() -> None:
    """A warm-up that starts at 0, ends a step late, or begins anew with a later stage."""
    config = OptimConfig(learning_rate=2.0, warmup_steps=4)
    assert [learning_rate(config, step) for step in range(6)] == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]
    assert learning_rate(config, 17_500) == 2.0
    assert learning_rate(OptimConfig(learning_rate=2.0, warmup_steps=0), 0) == 2.0


def test_a_falling_rate_follows_its_cosine() -> None:
    """A fall that begins or ends elsewhere, or forgets the warm-up."""
    config = OptimConfig(learning_rate=2.0, warmup_steps=2, schedule="cosine", final_share=0.2)
    rates = [learning_rate(config, 10, progress) for progress in (0.0, 0.5, 1.0)]
    assert rates == pytest.approx([2.0, 1.2, 0.4])
    assert learning_rate(config, 10, 1 / 3) == pytest.approx(2 * (0.2 + 0.8 * 0.75))
    assert learning_rate(config, 0, 0.5) == pytest.approx(0.6)
    assert learning_rate(OptimConfig(learning_rate=2.0, warmup_steps=0), 3, 0.9) == 2.0


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rate": 0.0},
        {"accumulation_steps": 0},
        {"max_grad_norm": 0.0},
        {"warmup_steps": -1},
        {"weight_decay": -0.1},
        {"final_share": 1.5},
    ],
)
def test_impossible_settings_are_refused(change: dict) -> None:
    """A setting that makes a run useless and is found out hours later."""
    with pytest.raises(InputError):
        OptimConfig(**change)
