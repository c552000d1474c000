"""Tests of values of pixels as bytes."""

import torch

from src.io.image import round_to_uint8, to_uint8


def test_values_become_bytes_as_published() -> None:
    """Rounding instead of truncation, or values outside the range that wrap around."""
    values = torch.tensor([-5.0, -1.0, -0.99, 0.0, 0.999, 1.0, 9.0], dtype=torch.bfloat16)
    assert to_uint8(values).tolist() == [0, 0, 1, 127, 255, 255, 255]
    unit = torch.linspace(-0.5, 1.5, 1001)
    expected = (unit.clamp(0, 1) * 255).int()
    assert torch.equal(to_uint8(unit, 0, 1).int(), expected)


def test_rounding_takes_the_nearest_byte() -> None:
    """Truncated instead of rounded, a picture becomes darker with every copy."""
    assert round_to_uint8(torch.tensor([-0.1, 0.0, 0.498, 0.5, 0.9985, 1.2])).tolist() == [
        0,
        0,
        127,
        128,
        255,
        255,
    ]
    every = torch.arange(256)
    assert torch.equal(round_to_uint8(every / 255).long(), every)
