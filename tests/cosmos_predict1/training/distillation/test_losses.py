"""The losses of a distillation against denoisers whose answers are known."""

from copy import deepcopy
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from cosmos_predict1.diffusion.model.denoiser import c_in, c_out, c_skip
from cosmos_predict1.diffusion.sampling.distilled import denoise_levels
from cosmos_predict1.training.distillation.losses import (
    Estimate,
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
FOUR = (80.0, 7.44, 2.49, 0.83)
PIXELS = (1, 2, 8, 8)


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


class TwoAnswers(nn.Module):
    """A small denoiser of clips whose second frame is about 0.5 or -0.5 in each pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, 32), nn.SiLU(), nn.Linear(32, 32), nn.SiLU(), nn.Linear(32, 1)
        )

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        scaled = wide(c_in(sigma)) * x
        told = torch.stack([scaled, wide(sigma.log() / 4).expand_as(x)], dim=-1)
        free = wide(c_skip(sigma)) * x + wide(c_out(sigma)) * self.layers(told)[..., 0]
        return torch.cat([torch.zeros_like(x[:, :, :1]), free[:, :, 1:]], dim=2)


def answers(count: int) -> Tensor:
    """Clips of the world of `TwoAnswers`."""
    clips = torch.randn(count, *PIXELS) * 0.05 + 0.5 * torch.randn(count, *PIXELS).sign()
    clips[:, :, 0] = 0
    return clips


def exact(x: Tensor, sigma: Tensor) -> Tensor:
    """The exact denoiser of `answers`."""
    variance = wide(0.05**2 + sigma**2)
    return (0.05**2 * x + wide(sigma) ** 2 * 0.5 * torch.tanh(0.5 * x / variance)) / variance


def roll_out(network: Estimate, levels: tuple[float, ...], count: int = 12) -> Tensor:
    """Clips of a network in a few steps."""
    shape = (count, *PIXELS)
    return denoise_levels(
        lambda x, sigma: network(x, torch.full((count,), sigma)),
        torch.randn(shape),
        levels,
        lambda: torch.randn(shape),
    )


def distance(network: Estimate) -> float:
    """Wasserstein distance of pixels in four steps to those of the world."""
    with torch.no_grad():
        clips = (roll_out(network, FOUR, 60), answers(60))
        made, true = (part[:, :, 1].flatten().sort().values for part in clips)
    return (made - true).abs().mean().item()


def update(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.mean().backward()
    optimizer.step()


@pytest.fixture(scope="module")
def copy() -> TwoAnswers:
    """A network that has learned to be the teacher, and makes means in four steps."""
    torch.manual_seed(0)
    network = TwoAnswers()
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    for _ in range(500):
        clips, sigma = answers(24), (torch.randn(24) * 1.5 + 0.3).exp()
        x = clips + wide(sigma) * torch.randn_like(clips)
        update(optimizer, ((network(x, sigma) - exact(x, sigma)) / wide(c_out(sigma))).square())
    assert distance(exact) > 0.25 and distance(network) > 0.25
    return network


@pytest.mark.slow
def test_consistency_makes_one_of_two_answers(copy: TwoAnswers) -> None:
    """A loss that is right at one pair of levels, and trains nothing over the whole table."""
    student, table = deepcopy(copy), level_table(48, 5.0)
    optimizer = torch.optim.Adam(student.parameters(), 1e-3, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1000)
    for _ in range(1000):
        clips, place = answers(24), torch.randint(1, 49, (24,))
        levels = (table[place], table[place - 1])
        noise = torch.randn_like(clips)
        update(optimizer, consistency_loss(student, exact, clips, noise, levels, huber=1e-3))
        schedule.step()
    assert distance(student) < 0.2


@pytest.mark.slow
def test_matching_makes_one_of_two_answers(copy: TwoAnswers) -> None:
    """A gradient that leads away from the teacher, a critic that does not follow."""
    student, critic = deepcopy(copy), deepcopy(copy)
    optimizers = [
        torch.optim.Adam(part.parameters(), 5e-4, betas=(0.0, 0.999)) for part in (student, critic)
    ]
    for number in range(1000):
        last, trained = int(torch.randint(1, 5, ())), number % 5 == 4
        with torch.set_grad_enabled(trained):
            clean = roll_out(student, FOUR[:last])
        sigma = shifted_levels(torch.rand(12), 5.0).clamp(0.01, 24.5)
        noise = torch.randn_like(clean)
        if trained:
            loss = matching_loss(critic, exact, clean=clean, noise=noise, sigma=sigma)
        else:
            loss = critic_loss(critic, clean, noise, sigma)
        update(optimizers[not trained], loss)
    assert distance(student) < 0.22
