"""A world to capture."""

import pytest
import torch
from captured_world import SIZE, CapturedWorld

from nano.worlds.film import film_pool
from nano.worlds.scene import World

SEED, HARD_SEED = 900_001, 900_000


@pytest.fixture(scope="session")
def world() -> CapturedWorld:
    """A still world from nine cameras."""
    return filmed(SEED)


@pytest.fixture(scope="session")
def hard_world() -> CapturedWorld:
    """The world of the first four held-out seeds whose scale the search finds worst."""
    return filmed(HARD_SEED)


def filmed(seed: int) -> CapturedWorld:
    """A still world from nine cameras, moved to all sides by up to 0.3 units."""
    poses = torch.eye(4).repeat(9, 1, 1)
    steps = torch.linspace(0, 1, 9)
    poses[:, 0, 3], poses[:, 1, 3] = 0.3 * steps, 0.1 * (9 * steps).sin()
    poses[:, 2, 3] = 0.2 * steps**2
    return CapturedWorld(film_pool([World(seed)], poses[None, None], SIZE, "cpu"))
