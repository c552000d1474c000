"""The losses of a distillation against denoisers whose answers are known."""

from functools import partial

import pytest
import torch
from torch import Tensor

from cosmos_predict1.training.distillation.losses import (
    consistency_loss,
    critic_loss,
    level_table,
    matching_loss,
    shifted_levels,
)
from cosmos_predict1.training.objective import wide

SHAPE = (3, 2, 4, 2, 2)
HIGH = torch.tensor([80.0, 2.0, 0.3])
LOW = torch.tensor([40.0, 1.5, 0.0])
SPREAD = 0.5


@pytest.fixture
def latents() -> Tensor:
    torch.manual_seed(0)
    return torch.randn(SHAPE) * SPREAD


@pytest.fixture
def noise() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(SHAPE)


def free_means(values: Tensor) -> Tensor:
    """Means over all frames but the given one."""
    return values[:, :, 1:].flatten(1).mean(dim=1)


def test_levels_are_those_of_shifted_flows() -> None:
    """Levels of another shift, or a table that does not end in pure noise and in none."""
    u = torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)
    torch.testing.assert_close(
        shifted_levels(u, 5.0), torch.tensor([0.83, 2.49, 7.44]).double(), rtol=0.01, atol=0
    )
    time = 5 * u / (1 + 4 * u)
    torch.testing.assert_close(shifted_levels(u, 5.0), 0.5 * time / (1 - time))
    table = level_table(48, 5.0)
    assert len(table) == 49 and table[0] == 0 and table[-1] == pytest.approx(80)
    assert (table.diff() > 0).all()


def test_consistency_of_an_exact_solution_is_no_loss(latents: Tensor, noise: Tensor) -> None:
    """A step to another level, a target of another clip, given frames that count."""

    def known(x: Tensor, sigma: Tensor) -> Tensor:
        """All trajectories of a teacher that knows the clips are straight."""
        estimate = x - wide(sigma) * noise
        estimate[:, :, :1] = torch.randn_like(estimate[:, :, :1])
        return estimate

    def teacher(x: Tensor, sigma: Tensor) -> Tensor:
        return latents

    found = consistency_loss(known, teacher, latents, noise, (HIGH, LOW), huber=1e-3)
    torch.testing.assert_close(found, torch.zeros(3), atol=1e-5, rtol=0)


def test_consistency_loss_of_a_gaussian_world(latents: Tensor, noise: Tensor) -> None:
    """A wrong Euler step, weight or distance; the target at level 0 that is not the clip."""

    def teacher(x: Tensor, sigma: Tensor) -> Tensor:
        return wide(SPREAD**2 / (SPREAD**2 + sigma**2)) * x

    def student(scale: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
        return scale * wide(SPREAD / (SPREAD**2 + sigma**2).sqrt()) * x

    scale = torch.tensor(0.9, requires_grad=True)
    ours = partial(student, scale)
    found = consistency_loss(ours, teacher, latents, noise, (HIGH, LOW), huber=0.2)
    x = latents + wide(HIGH) * noise
    following = x + wide((LOW - HIGH) / HIGH) * (x - teacher(x, HIGH))
    target = student(scale.detach(), following, LOW)
    target[2] = latents[2]
    squared = free_means((ours(x, HIGH) - target) ** 2)
    expected = ((squared + 0.2**2).sqrt() - 0.2) / (HIGH - LOW)
    torch.testing.assert_close(found, expected)
    (slope,) = torch.autograd.grad(found.sum(), scale)
    # No gradient through the target.
    (wanted,) = torch.autograd.grad(expected.sum(), scale)
    torch.testing.assert_close(slope, wanted)


def test_the_critic_learns_the_clips_of_the_student(latents: Tensor, noise: Tensor) -> None:
    """Another weight than that of EDM; given frames that count; a perfect critic with a loss."""

    def critic(x: Tensor, sigma: Tensor) -> Tensor:
        offset = torch.full_like(x, 0.1)
        offset[:, :, 0] = 7
        return x - wide(sigma) * noise + offset

    found = critic_loss(critic, latents, noise, HIGH)
    torch.testing.assert_close(found, 0.01 * (HIGH**-2 + 4), rtol=1e-3, atol=0)


def test_the_gradient_of_matching_is_the_formula(latents: Tensor, noise: Tensor) -> None:
    """A gradient with another sign or scale, through the denoisers, or in the given frames."""
    clean = latents.clone().requires_grad_()

    def critic(x: Tensor, sigma: Tensor) -> Tensor:
        return 0.3 * x

    def teacher(x: Tensor, sigma: Tensor) -> Tensor:
        return 0.2 * x.cos()

    loss = matching_loss(critic, teacher, clean=clean, noise=noise, sigma=HIGH)
    (found,) = torch.autograd.grad(loss.sum(), clean)
    noisy = latents + wide(HIGH) * noise
    theirs = 0.2 * noisy.cos()
    scale = free_means((latents - theirs).abs()) + 1e-6
    wanted = (0.3 * noisy - theirs) / wide(scale)
    count = wanted[0, :, 1:].numel()
    torch.testing.assert_close(found[:, :, 1:], wanted[:, :, 1:] / count)
    assert not found[:, :, :1].any()
    torch.testing.assert_close(loss, 0.5 * free_means(wanted**2))


def test_matching_has_no_loss_where_critic_and_teacher_agree(latents: Tensor) -> None:
    """A loss in float16, or one that is not a number where an estimate is none."""

    def same(x: Tensor, sigma: Tensor) -> Tensor:
        return x

    def broken(x: Tensor, sigma: Tensor) -> Tensor:
        return torch.full_like(x, torch.nan)

    half, sigma = latents.half(), torch.ones(3)
    for teacher in (same, broken):
        loss = matching_loss(same, teacher, clean=half, noise=torch.zeros_like(half), sigma=sigma)
        assert loss.dtype == torch.float32 and not loss.any()
