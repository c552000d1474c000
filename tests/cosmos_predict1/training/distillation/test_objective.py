"""Which network a distillation calls, at which levels, with which conditions and gradients."""

from dataclasses import replace

import pytest
import torch
from tiny_generator import NETWORK
from torch import Tensor

from cosmos_predict1.diffusion.conditioning.latents import Conditions
from cosmos_predict1.diffusion.model.denoiser import Denoiser
from cosmos_predict1.diffusion.model.network import Gen3CTransformer
from cosmos_predict1.training.config import LoraConfig
from cosmos_predict1.training.distillation.config import DistillTrainConfig, Method
from cosmos_predict1.training.distillation.objective import (
    Denoisers,
    DistillObjective,
    trained_role,
)
from cosmos_predict1.training.distillation.roles import (
    CRITIC,
    Role,
    Roles,
    SharedNetwork,
    StudentAndCritic,
    WholeNetworks,
    critic_names,
    split_state,
)
from cosmos_predict1.training.latents import LatentBatch
from cosmos_predict1.training.lora import add_adapters
from cosmos_predict1.training.objective import wide
from src.training.optim import OptimConfig

SHAPE = (2, 16, 2, 4, 6)
TEXTS = (torch.zeros(1, 1, 8), torch.ones(1, 1, 8))


@pytest.fixture
def batch() -> LatentBatch:
    torch.manual_seed(0)
    return LatentBatch(torch.randn(SHAPE) / 2, torch.randn(2, 64, 2, 4, 6) / 2, ["a", "b"])


class NotedRoles:
    """Stands for the networks; notes each call."""

    def __init__(self) -> None:
        self.calls: list[tuple[Role, float, bool, bool]] = []
        self.settled: Role | None = None

    def __call__(self, role: Role, x: Tensor, c_noise: Tensor, conditions: Conditions) -> Tensor:
        level = (4 * c_noise[0]).exp().item()
        self.calls.append((role, level, torch.is_grad_enabled(), bool(conditions.warps.any())))
        return torch.sin(x) + conditions.text.mean() + conditions.warps.mean()

    def settle(self, role: Role) -> None:
        self.settled = role


def config(method: Method, **settings: float) -> DistillTrainConfig:
    return DistillTrainConfig(method=method, **settings)


def random_network(
    kind: type[Gen3CTransformer] = Gen3CTransformer, *more: bool
) -> Gen3CTransformer:
    torch.manual_seed(1)
    network = kind(NETWORK, *more)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return network


def networks(kind: str) -> tuple[Gen3CTransformer, Roles]:
    """A network with student and critic, which differ, and their roles."""
    if kind == "whole":
        network = random_network(StudentAndCritic, True)
        assert isinstance(network, StudentAndCritic)
        return network, WholeNetworks(network, random_network().requires_grad_(False))
    network = random_network()
    for name in ("default", CRITIC):
        add_adapters(network, LoraConfig(rank=2), name)
    for name, parameter in network.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return network, SharedNetwork(network)


def test_denoisers_are_those_of_sampling(batch: LatentBatch) -> None:
    """Given frames at another scale, another preconditioning, guidance with the wrong sign."""
    roles, sigma = NotedRoles(), torch.tensor([0.02, 40.0])
    denoisers = Denoisers(roles, batch, TEXTS, 24.0)
    x = batch.latents + wide(sigma) * torch.randn(SHAPE)
    found = denoisers("teacher", 0.7, x, sigma)
    assert torch.equal(found[:, :, :1], batch.latents[:, :, :1])
    assert [call[-1] for call in roles.calls] == [True, False]
    for index, level in enumerate(sigma.tolist()):
        told, other = batch.warps.mean(), torch.tensor(1.0)
        given = batch.latents[:, :, :1]
        carried = (denoisers.noisy - given) / 0.001

        def predict(y: Tensor, _: Tensor, told=told, other=other) -> Tensor:
            return y.sin() + told + 0.7 * (told - other)

        denoiser = Denoiser(predict, given, carried)
        torch.testing.assert_close(found[index], denoiser(x, level)[index], rtol=1e-4, atol=1e-4)


def test_a_cycle_trains_the_critic_and_then_the_student() -> None:
    """Updates of mixed batches; more updates of the student than of the critic."""
    settings = replace(config("distribution"), optim=OptimConfig(accumulation_steps=2))
    roles = [trained_role(settings, number) for number in range(20)]
    assert roles == [*["critic"] * 8, *["student"] * 2] * 2


def test_roll_outs_visit_the_levels_with_a_gradient_through_the_last(batch: LatentBatch) -> None:
    """Levels in another order, a gradient through all calls, guidance in the student."""
    seen, network = set(), random_network()
    for number in range(20):
        roles, student = NotedRoles(), number % 5 == 4
        objective = DistillObjective(network, roles, config("distribution"), TEXTS)
        terms = objective(replace(batch, number=number))
        assert roles.settled == ("student" if student else "critic")
        assert f"loss_{roles.settled}" in terms
        rolled = [call for call in roles.calls if call[0] == "student"]
        levels = [level for _, level, _, _ in rolled]
        assert levels == pytest.approx([80.0, 7.44, 2.49, 0.83][: len(levels)], rel=1e-4)
        assert [call[2] for call in rolled] == [False] * (len(rolled) - 1) + [student]
        rest = [(role, gradient) for role, _, gradient, _ in roles.calls[len(rolled) :]]
        asked = [("teacher", False), ("teacher", False), ("critic", False)]
        assert rest == (asked if student else [("critic", True)])
        assert all(0.01 <= level <= 24.5 + 1e-3 for _, level, _, _ in roles.calls[len(rolled) :])
        seen.add(len(levels))
    assert seen == {1, 2, 3, 4}


def test_consistency_asks_teacher_and_student_without_gradients_for_the_target(
    batch: LatentBatch,
) -> None:
    """A target that is trained, or a teacher without its guidance."""
    roles = NotedRoles()
    objective = DistillObjective(random_network(), roles, config("consistency"), TEXTS)
    assert objective(batch)["loss"].isfinite() and roles.settled == "student"
    called = [(role, gradient, warped) for role, _, gradient, warped in roles.calls]
    assert called == [
        ("teacher", False, True),
        ("teacher", False, False),
        ("student", False, True),
        ("student", True, True),
    ]


@pytest.mark.parametrize("kind", ["whole", "shared"])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_only_the_role_of_an_update_gets_gradients(
    batch: LatentBatch, kind: str, checkpointing: bool
) -> None:
    """A student that learns from the critic's loss; blocks computed again with other adapters."""
    network, roles = networks(kind)
    objective = DistillObjective(network, roles, config("distribution"), TEXTS)
    found: dict[bool, dict[str, Tensor]] = {}
    for number in (0, 4):
        for checked in {False, checkpointing}:
            for part in network.modules():
                if isinstance(part, Gen3CTransformer):
                    part.gradient_checkpointing = checked
            network.zero_grad()
            torch.manual_seed(number)
            objective(replace(batch, number=number))["loss"].backward()
            found[checked] = {
                name: part.grad
                for name, part in network.named_parameters()
                if part.grad is not None
            }
        student, critic = split_state(found[checkpointing])
        assert bool(student) == (number == 4) and bool(critic) == (number == 0)
        for name, gradient in found[checkpointing].items():
            torch.testing.assert_close(gradient, found[False][name], msg=name)


def test_roles_of_shared_weights_are_those_of_their_adapters(batch: LatentBatch) -> None:
    """A teacher with adapters, or two roles with the same ones."""
    network, roles = networks("shared")
    told = Conditions(torch.zeros(2, 1, 8), torch.zeros(2, 1, 2, 4, 6), batch.warps)
    answers: dict[Role, Tensor] = {}
    with torch.no_grad():
        for role in ("student", "critic", "teacher", "student"):
            answer = roles(role, batch.latents, torch.zeros(2), told)
            torch.testing.assert_close(answers.setdefault(role, answer), answer)
        plain = random_network()(batch.latents, torch.zeros(2), told)
    torch.testing.assert_close(answers["teacher"], plain)
    for one, other in (("student", "critic"), ("student", "teacher"), ("critic", "teacher")):
        assert not torch.allclose(answers[one], answers[other], atol=0.05)


@pytest.mark.parametrize("kind", ["whole", "shared"])
def test_states_are_split_and_joined(kind: str) -> None:
    """A critic's tensor that is lost, or taken for the student's."""
    state = networks(kind)[0].state_dict()
    student, critic = split_state(state)
    joined = student | critic_names(critic)
    assert joined.keys() == state.keys()
    assert all(torch.equal(joined[name], state[name]) for name in state)
    assert critic and critic.keys() <= student.keys()
