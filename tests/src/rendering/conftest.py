"""Scenes that every rendering test draws from."""

from collections.abc import Callable

import pytest
import torch

from src.gaussians import Gaussians
from src.geometry.cameras import Cameras

Scene = tuple[Gaussians, Cameras]


def _pose(angle: float, shift: float) -> torch.Tensor:
    """A camera beside the origin, turned about the vertical axis so that it keeps looking at it."""
    pose = torch.eye(4, dtype=torch.float64)
    turn = torch.tensor(angle, dtype=torch.float64)
    pose[0, 0], pose[0, 2] = turn.cos(), turn.sin()
    pose[2, 0], pose[2, 2] = -turn.sin(), turn.cos()
    pose[0, 3] = shift
    return pose


@pytest.fixture
def make_scene() -> Callable[..., Scene]:
    """Gaussians of all sizes and opacities before, around and behind a few cameras."""

    def make(
        count: int, frames: int = 2, width: int = 53, height: int = 37, sigma: float = 2.0
    ) -> Scene:
        focal = 0.8 * width
        depth = 0.5 + 3.5 * torch.rand(count, 1)
        slope = (torch.rand(count, 2) - 0.5) * torch.tensor([width, height]) * 1.2 / focal
        # One in twenty lies behind the cameras.
        sign = torch.where(torch.rand(count, 1) < 0.05, -1.0, 1.0)
        spread = torch.exp(0.6 * torch.randn(count, 3))
        gaussians = Gaussians(
            means=torch.cat([slope * depth, depth * sign], dim=1),
            opacities=torch.rand(count),
            scales=sigma / focal * depth * spread,
            quats=torch.randn(count, 4),
            colors=torch.rand(count, 3),
        )
        poses = [_pose(-0.1 * index, 0.25 * index) for index in range(frames)]
        intrinsics = torch.tensor([focal, focal * 1.1, width * 0.52, height * 0.47])
        cameras = Cameras(torch.stack(poses), intrinsics.double().expand(frames, 4), width, height)
        return gaussians, cameras

    return make
