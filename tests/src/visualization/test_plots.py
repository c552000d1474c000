"""The plot of a curve, looked at pixel by pixel, and its ticks."""

import pytest
import torch

from src.visualization import BAND, CURVE, nice_ticks, plot_curve

LABELS = {"title": "PSNR", "subtitle": "higher is better", "x": "frame"}


def center_of(picture: torch.Tensor, color: tuple[int, int, int], column: int) -> float:
    """The mean row of a colour, smoothed edges included, in one column of pixels."""
    rows = (picture[:, column].int() - torch.tensor(color)).abs().sum(dim=-1) < 150
    assert rows.any(), f"no {color} in column {column}"
    return rows.nonzero().double().mean().item()


def test_the_curve_lies_in_its_band_and_rises_with_the_values() -> None:
    """Would catch a picture upside down, a band off the curve, or one of another width."""
    values = [float(index) for index in range(101)]
    picture = plot_curve(values, [20.0] * 101, **LABELS)
    middle, right = [center_of(picture, CURVE, column) for column in (508, 800)]
    slope = (middle - right) / (800 - 508)
    # 100 frames over 848 pixels, and 140 units of data over the height of the plane less its room.
    expected = 344 / (140 * 1.16) * 100 / 848
    assert slope == pytest.approx(expected, rel=0.02)
    band = (picture[:, 508].int() - torch.tensor(BAND)).abs().sum(dim=-1) < 12
    top, bottom = band.nonzero()[0].item(), band.nonzero()[-1].item()
    assert (top + bottom) / 2 == pytest.approx(middle, abs=2)
    assert bottom - top == pytest.approx(40 * 344 / (140 * 1.16), abs=3)


def test_gaps_and_single_values() -> None:
    """Would catch a line drawn over missing values, and a value between gaps that vanishes."""
    values: list[float | None] = [1.0] * 101
    values[40:50] = [None] * 10
    values[45] = 1.0
    picture = plot_curve(values, [0.0] * 101, **LABELS)
    curve = ((picture.int() - torch.tensor(CURVE)).abs().sum(dim=-1) < 12).any(dim=0)
    column = [84 + round(8.48 * frame) for frame in range(101)]
    assert curve[column[20]] and curve[column[45]] and curve[column[80]]
    assert not curve[column[42]] and not curve[column[48]]


@pytest.mark.parametrize("values", [[0.5], [3.0, 3.0], [0.0, 0.0], [None], [1e-6, 2e-6], [1e6, 0]])
def test_extreme_curves_are_drawn(values: list[float | None]) -> None:
    """Would catch a division by zero for one value, a constant curve, or none at all."""
    picture = plot_curve(values, [None if v is None else 0.0 for v in values], **LABELS)
    assert picture.shape == (480, 960, 3)
    assert picture.min() < 128 < picture.max()


@pytest.mark.parametrize("low, high", [(0, 48), (17.9, 37.4), (-0.3, 1e-3), (1e-7, 3e-7), (0, 1e6)])
def test_ticks_are_round_and_cover_the_range(low: float, high: float) -> None:
    """Would catch ticks outside the plane, too many of them, or crooked numbers."""
    ticks = nice_ticks(low, high, 6)
    assert 3 <= len(ticks) <= 7
    step = ticks[1] - ticks[0]
    assert low - step * 1e-6 <= ticks[0] and ticks[-1] <= high + step * 1e-6
    assert ticks[0] - low < step and high - ticks[-1] < step
    assert float(f"{step:.0e}") == pytest.approx(step)
