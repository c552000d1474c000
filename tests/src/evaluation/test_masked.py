import colorsys
import math

import pytest
import torch

from src.evaluation.metrics import (
    ClipErrors,
    channel_errors,
    clip_errors,
    moving_pixels,
    ycbcr,
)


def test_masked_errors_by_loops() -> None:
    """Would catch a mean over all pixels instead of the chosen ones, and a forgotten clipping."""
    predicted, target = 1.4 * torch.rand(2, 3, 3, 4, 5) - 0.2, torch.rand(2, 3, 3, 4, 5)
    mask = torch.rand(2, 3, 4, 5) > 0.5
    found = clip_errors(predicted, target, mask)
    for clip in range(2):
        values = [
            (min(max(predicted[clip, c, f, y, x].item(), 0), 1) - target[clip, c, f, y, x].item())
            ** 2
            for f, y, x in mask[clip].nonzero().tolist()
            for c in range(3)
        ]
        assert found.count[clip] == len(values)
        expected = -10 * math.log10(sum(values) / len(values))
        assert found.psnr()[clip].item() == pytest.approx(expected, abs=1e-5)


def test_summaries() -> None:
    """Would catch NaN of clips without a pixel in a mean, or means of decibels called pooled."""
    errors = ClipErrors(
        torch.tensor([1.0, 0.0, 0.0, 30.0]).double(), torch.tensor([100.0, 0.0, 50.0, 300.0])
    )
    assert errors.psnr()[1].isnan() and errors.psnr()[2].isinf()
    found = errors.summary()
    assert found["psnr"] == pytest.approx((20 + 10) / 2) and found["clips"] == 2
    assert found["pooled"] == pytest.approx(-10 * math.log10(31 / 450))
    parts = [ClipErrors(errors.squared[:1], errors.count[:1]) for _ in range(3)]
    assert len(ClipErrors.concatenate(parts).psnr()) == 3


def test_ycbcr_agrees_with_yiq_in_luma_and_is_grey_on_grey() -> None:
    """Would catch swapped channels or rows that don't sum to 1, 0 and 0."""
    rgb = torch.rand(1, 3, 1, 2, 2)
    luma = ycbcr(rgb)[0, 0, 0]
    for y, x in ((0, 0), (1, 1)):
        expected = colorsys.rgb_to_yiq(*rgb[0, :, 0, y, x].tolist())[0]
        assert luma[y, x].item() == pytest.approx(expected, abs=0.01)
    grey = torch.rand(1, 1, 1, 2, 2).expand(-1, 3, -1, -1, -1)
    assert torch.allclose(ycbcr(grey)[:, 0], grey[:, 0]) and ycbcr(grey)[:, 1:].abs().max() < 1e-6
    pure = torch.tensor([[0.0, 0, 1], [1, 0, 0]]).T[None, :, None, None]
    assert torch.allclose(ycbcr(pure)[0, 1:, 0, 0].diagonal(), torch.tensor([0.5, 0.5]))


def test_lost_colour_shows_in_its_channel_alone() -> None:
    """Would catch chroma errors hidden in luma: grey pictures keep Y and lose Cb and Cr."""
    target = torch.rand(2, 3, 1, 8, 8)
    grey = ycbcr(target)[:, :1].expand_as(target)
    found = {name: errors.psnr() for name, errors in channel_errors(grey, target).items()}
    assert (found["y"] > 100).all() and (found["cb"] < 25).all() and (found["cr"] < 25).all()


def test_moving_pixels() -> None:
    """Would catch a mean over channels, which hides a change of one."""
    first = torch.full((2, 3, 2, 2), 0.5)
    second = first.clone()
    second[1, 2, 0, 1] += 0.1
    second[0, 0, 1, 1] += 0.01
    assert moving_pixels(first, second).nonzero().tolist() == [[1, 0, 1]]
