"""Means and deviations over videos against numpy."""

import math
from pathlib import Path

import numpy as np
import pytest

from src.evaluation.compare import Comparison, markdown, overall_rows, spread, summarise, video_rows
from src.evaluation.sources import Footage


def make_video(num_frames: int) -> Comparison:
    footage = Footage(Path("a.mp4"), num_frames, height=4, width=6)
    return Comparison(footage, footage, num_frames)


def test_spread_is_the_populations() -> None:
    """Would catch sum(x)/n - mean^2 for the variance, the unbiased formula, and cancellation."""
    values = np.random.default_rng(0).normal(30, 2, 50)
    found = spread(values.tolist())
    assert (found.mean, found.std) == pytest.approx((values.mean(), values.std()))
    assert found.std == pytest.approx(math.sqrt((values**2).mean() - values.mean() ** 2))
    assert spread([1e8, 1e8 + 2]).std == pytest.approx(1.0)


def test_infinite_values_are_left_out_and_counted() -> None:
    """Would catch a mean of infinity, or NaN, because a single frame is identical."""
    found = spread([30.0, math.inf, 40.0])
    assert (found.mean, found.std, found.count, found.num_infinite) == (35.0, 5.0, 2, 1)
    assert spread([math.inf]).mean is None


def test_videos_count_once_and_frames_where_they_are() -> None:
    """Would catch long videos that weigh more, and short ones padded into the average."""
    found = summarise({"a": [10, 20, 30], "b": [40], "c": [math.inf]})
    assert (found.overall.mean, found.overall.std) == (30.0, 10.0)
    assert [s.mean for s in found.frames] == [25.0, 20.0, 30.0]
    assert [s.count for s in found.frames] == [2, 1, 1]
    assert (found.num_frames, found.num_identical) == (5, 1)


def test_tables() -> None:
    """Would catch a metric without weights that vanishes, and names that break the table."""
    videos = {"a|b": make_video(2), "same": make_video(1)}
    summaries = {"psnr": summarise({"a|b": [10, 20], "same": [math.inf]})}
    reason = "no weights in a folder with a very long name"
    rows = markdown(overall_rows(summaries, {"lpips": reason})).splitlines()
    assert [cell.strip() for cell in rows[2].split("|")[1:-1]] == (
        ["PSNR (dB)", "higher", "15.00", "0.00", "2", "3", "1"]
    )
    assert f"not computed: {reason}" in rows[3]
    table = markdown(video_rows(videos, summaries)).splitlines()
    assert r"a\|b" in table[2] and table[3].split("|")[-2].strip() == "inf"
    assert len({len(line) for line in table}) == 1
