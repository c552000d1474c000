"""Worlds and cameras that several tests of this folder use."""

import pytest
import torch

from nano.worlds.scene import Worlds, build_worlds
from src.geometry.trajectories import MULTI_TRAJECTORY, make_trajectory

SEEDS = range(64)


@pytest.fixture(scope="session")
def still_worlds() -> Worlds:
    return build_worlds(SEEDS)


@pytest.fixture(scope="session")
def moving_worlds() -> Worlds:
    return build_worlds(SEEDS, dynamic=True)


@pytest.fixture(scope="session")
def trajectory_poses() -> torch.Tensor:
    """World-to-camera poses of all six published trajectories at their longest."""
    return torch.cat([make_trajectory(part.spec(1.0), 33) for part in MULTI_TRAJECTORY])
