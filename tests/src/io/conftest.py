from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor


def make_pictures(count: int, height: int, width: int) -> Tensor:
    """Smooth pictures whose colour tells the frame number and the position, uint8 [n, h, w, 3]."""
    rows = torch.linspace(0, 80, height)[:, None].expand(height, width)
    columns = torch.linspace(0, 80, width).expand(height, width)
    pictures = [
        torch.stack([rows + 15 * (i % 12), columns + 40, 200 - rows / 2 - 12 * (i % 12)], dim=-1)
        for i in range(count)
    ]
    return torch.stack(pictures).to(torch.uint8)


def make_poses(count: int) -> Tensor:
    """Rigid camera-to-world poses that differ from frame to frame, float64 [n, 4, 4]."""
    angles = torch.linspace(0, 1, count, dtype=torch.float64)
    poses = torch.eye(4, dtype=torch.float64).repeat(count, 1, 1)
    poses[:, 0, 0] = poses[:, 2, 2] = torch.cos(angles)
    poses[:, 0, 2] = torch.sin(angles)
    poses[:, 2, 0] = -torch.sin(angles)
    poses[:, 0, 3] = torch.arange(count)
    return poses


@pytest.fixture
def pictures() -> Callable[[int, int, int], Tensor]:
    return make_pictures


@pytest.fixture
def poses() -> Callable[[int], Tensor]:
    return make_poses


@pytest.fixture
def flip_bytes() -> Callable[[bytes, int], bytes]:
    """Damage: one byte at a place drawn from the seed gets another value."""

    def flip(content: bytes, seed: int) -> bytes:
        generator = np.random.default_rng(seed)
        place = int(generator.integers(len(content)))
        other = (content[place] + int(generator.integers(1, 256))) % 256
        return content[:place] + bytes([other]) + content[place + 1 :]

    return flip
