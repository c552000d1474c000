"""Muon's updates: orthogonal, of Adam's size, for inner matrices alone, and resumed to the bit."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from src.runtime import InputError
from src.training.checkpoints.snapshot import load_optimizer_state, optimizer_state
from src.training.loop.launch import start_launch
from src.training.muon import SIZE, Muon, orthogonalise
from src.training.optim import OptimConfig, build_optimizer
from src.training.settings import LoopConfig

OPTIONS = {"method": "muon", "learning_rate": 0.1, "warmup_steps": 0, "weight_decay": 0.0}


class Convolutions(nn.Module):
    """A first layer, an inner kernel of five dimensions, a matrix, a kernel of single channels."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.kernel = nn.Parameter(torch.randn(6, 4, 1, 3, 3))
        self.matrix = nn.Linear(6, 3)
        self.depthwise = nn.Conv1d(5, 5, 3, groups=5, bias=False)


NOT_MUON = ("first.weight", "first.bias", "matrix.bias", "depthwise.weight")


def with_gradients(network: nn.Module, seed: int) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    return network


@pytest.mark.parametrize("shape", [(5, 5), (4, 9), (9, 4)])
def test_singular_values_become_one(shape: tuple[int, int]) -> None:
    """A scale that stays, the wrong side of a tall matrix, matrices that mix."""
    left, right = (torch.linalg.qr(torch.randn(3, side, side))[0] for side in shape)
    values = torch.zeros(3, *shape)
    values.diagonal(dim1=1, dim2=2).copy_(torch.tensor([1e-2, 1.0, 1e3])[:, None])
    found = torch.linalg.svdvals(orthogonalise(left @ values @ right.mT))
    assert ((found > 0.65) & (found < 1.25)).all()
    assert torch.equal(orthogonalise(torch.zeros(1, *shape)), torch.zeros(1, *shape))


def test_small_modes_move_as_fast_as_large_ones() -> None:
    """Updates that follow the gradient's own sizes, as those of plain momentum do."""
    layer = nn.Linear(2, 2, bias=False)
    nn.init.zeros_(layer.weight)
    optimizer = build_optimizer(layer, OptimConfig(**OPTIONS))
    layer.weight.grad = torch.tensor([[100.0, 0.0], [0.0, 1.0]])
    optimizer.step()
    large, small = (-layer.weight.detach()).diagonal().tolist()
    expected = 0.1 * SIZE * math.sqrt(2)
    assert expected * 0.65 < small < expected * 1.25 and expected * 0.65 < large < expected * 1.25


def test_outer_layers_and_vectors_follow_adam() -> None:
    """A first layer that Muon updates, a kernel that it leaves out, gradients that vanish."""
    torch.manual_seed(0)
    network = with_gradients(Convolutions(), 1)
    other = with_gradients(copy.deepcopy(network), 1)
    optimizer = build_optimizer(network, OptimConfig(**OPTIONS), ("first.",))
    assert isinstance(optimizer, Muon)
    optimizer.step()
    build_optimizer(other, OptimConfig(**{**OPTIONS, "method": "adamw"})).step()
    same = {
        name: torch.equal(value, dict(other.named_parameters())[name])
        for name, value in network.named_parameters()
    }
    assert same == {
        **dict.fromkeys(["kernel", "matrix.weight"], False),
        **dict.fromkeys(NOT_MUON, True),
    }
    assert all(parameter.grad is not None for parameter in network.parameters())


def test_a_kernel_is_a_matrix_of_its_outputs() -> None:
    """A kernel whose slices are orthogonalised one by one."""
    torch.manual_seed(0)
    network = with_gradients(Convolutions(), 2)
    before = network.kernel.detach().clone()
    build_optimizer(network, OptimConfig(**OPTIONS)).step()
    step = (before - network.kernel.detach()).flatten(1) / (0.1 * SIZE * math.sqrt(36))
    values = torch.linalg.svdvals(step)
    assert ((values > 0.65) & (values < 1.25)).all()


def test_a_resumed_training_goes_on_to_the_bit() -> None:
    """Momentum that a checkpoint loses."""

    def stepped(network: nn.Module, optimizer: torch.optim.Optimizer, seeds: range) -> nn.Module:
        for seed in seeds:
            with_gradients(network, seed)
            optimizer.step()
        return network

    torch.manual_seed(0)
    network, config = Convolutions(), OptimConfig(**OPTIONS)
    whole = copy.deepcopy(network)
    stepped(whole, build_optimizer(whole, config), range(6))
    optimizer = build_optimizer(network, config)
    stepped(network, optimizer, range(3))
    state: dict[str, dict[str, Tensor]] = optimizer_state(network, optimizer)
    other = copy.deepcopy(network)
    resumed = build_optimizer(other, config)
    load_optimizer_state(other, resumed, state)
    stepped(other, resumed, range(3, 6))
    for name, value in whole.named_parameters():
        assert torch.equal(value, dict(other.named_parameters())[name]), name


def test_decay_spares_vectors() -> None:
    """Matrices that do not decay because another optimizer updates them."""
    layer = nn.Linear(3, 3)
    nn.init.ones_(layer.weight)
    nn.init.ones_(layer.bias)
    optimizer = build_optimizer(layer, OptimConfig(**{**OPTIONS, "weight_decay": 0.5}))
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight, torch.full((3, 3), 0.95))
    torch.testing.assert_close(layer.bias, torch.ones(3))


@pytest.mark.parametrize("launch", ["FSDP", "DEEPSPEED"])
def test_a_launch_that_cuts_up_matrices_is_refused(
    launch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Updates of parts of matrices, which are others than those of the whole."""
    monkeypatch.setenv(f"ACCELERATE_USE_{launch}", "true")
    with pytest.raises(InputError, match="optim.method: got muon"):
        start_launch(LoopConfig(), OptimConfig(method="muon"))
