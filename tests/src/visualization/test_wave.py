"""The depth wave."""

import torch

from src.visualization import FAR_COLOR, HELD_FRAMES, NEAR_COLOR, WAVE_FRAMES, depth_wave


def test_the_band_runs_from_near_to_far() -> None:
    """Would catch a wave that runs backwards, or that starts before the held frames end."""
    frame = torch.zeros(10, 100, 3, dtype=torch.uint8)
    depth = torch.linspace(1, 5, 100).expand(10, 100).contiguous()
    wave = depth_wave(frame, depth)
    assert wave.shape == (HELD_FRAMES + WAVE_FRAMES, 10, 100, 3)
    assert (wave[:HELD_FRAMES] == 0).all()
    brightest = wave[HELD_FRAMES:, 0].float().sum(-1).argmax(dim=-1)
    assert (brightest.diff() >= 0).all() and brightest[0] < 5 and brightest[-1] > 94


def test_the_colours_at_the_ends() -> None:
    """Would catch the two colours exchanged."""
    frame = torch.zeros(1, 200, 3, dtype=torch.uint8)
    wave = depth_wave(frame, torch.linspace(1, 5, 200)[None])
    near = wave[HELD_FRAMES, 0, :10].amax(0).tolist()
    far = wave[-1, 0, -10:].amax(0).tolist()
    assert all(abs(a - b) <= 3 for a, b in zip(near, NEAR_COLOR, strict=True))
    assert all(abs(a - b) <= 3 for a, b in zip(far, FAR_COLOR, strict=True))
