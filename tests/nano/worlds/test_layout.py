import math

import numpy as np
import torch

from nano.worlds.layout import STILL, Motion, displacement, draw_motion


def test_offsets_start_at_zero_and_follow_the_formula() -> None:
    """Catches a lost phase: a moving world at time 0 must be the still one."""
    motion = Motion((0.2, 0, -0.1), (0.05, 0, 0.3), 0.7, 0.4, 0.15, 2.0, spin=1.5)
    times = np.linspace(0, 1, 7)
    offsets = motion.offsets(times)
    for time, offset in zip(times, offsets, strict=True):
        angle = 2 * math.pi * 0.7 * time + 0.4
        sine, cosine = math.sin(angle) - math.sin(0.4), math.cos(angle) - math.cos(0.4)
        hop = 0.15 * math.sin(2 * math.pi * time) ** 2
        expected = [0.2 * sine + 0.05 * cosine, -hop, -0.1 * sine + 0.3 * cosine]
        np.testing.assert_allclose(offset, expected, atol=1e-12)
    assert np.abs(offsets[0]).max() == 0


def test_turn_grows_with_time_and_still_things_stay() -> None:
    """Catches mixed columns of the motion's numbers."""
    rows = torch.tensor([[STILL.row(), Motion(spin=2.0).row()]]).expand(3, -1, -1)
    offset, turn = displacement(rows, torch.tensor([[0.0], [0.5], [1.0]]))
    assert offset.abs().max() == 0
    torch.testing.assert_close(turn, torch.tensor([[0.0, 0.0], [0.0, 1.0], [0.0, 2.0]]))


def test_drawn_motions_are_smooth_and_bounded() -> None:
    """Catches a motion that jumps between frames or leaves its reach."""
    times = np.linspace(0, 1, 121)
    for seed in range(40):
        offsets = draw_motion(np.random.default_rng(seed), 0.2, hops=seed % 2 == 0).offsets(times)
        assert np.abs(offsets).max() < 0.5
        assert np.abs(np.diff(offsets, axis=0)).max() < 0.025
        assert seed % 2 == 0 or np.abs(offsets[:, 1]).max() == 0
