"""Means and standard deviations over videos, as numbers and as a table.

The mean of a video is over its frames; mean and standard deviation of a metric are over the means
of the videos. The deviation is that of the population, `sqrt(mean(x^2) - mean(x)^2)`, not the
unbiased one of a sample. Infinite values (the PSNR of identical frames) are left out and counted.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from .compare import Comparison

TITLES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "lpips": "LPIPS (VGG)"}
BETTER = {"psnr": "higher", "ssim": "higher", "lpips": "lower"}
DIGITS = {"psnr": 2, "ssim": 4, "lpips": 4}


@dataclass(frozen=True)
class Spread:
    """Mean and standard deviation of `count` finite values, None if there is none."""

    mean: float | None
    std: float | None
    count: int
    num_infinite: int


@dataclass(frozen=True)
class MetricSummary:
    """One metric: over the means of videos, of each video, and of each frame over its videos."""

    overall: Spread
    videos: dict[str, Spread]
    frames: list[Spread]
    num_frames: int
    num_identical: int


def spread(values: Iterable[float]) -> Spread:
    """Mean and population standard deviation of the finite values."""
    values = list(values)
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return Spread(None, None, 0, num_infinite=len(values))
    mean = math.fsum(finite) / len(finite)
    # The same as mean(x^2) - mean(x)^2, without its cancellation.
    variance = math.fsum((value - mean) ** 2 for value in finite) / len(finite)
    return Spread(mean, math.sqrt(variance), len(finite), num_infinite=len(values) - len(finite))


def summarise(values: Mapping[str, list[float]]) -> MetricSummary:
    """One metric of all frames of the videos, by name; their lengths may differ."""
    assert values, "no videos to summarise"
    by_video = {name: spread(series) for name, series in values.items()}
    means = [math.inf if video.mean is None else video.mean for video in by_video.values()]
    length = max(len(series) for series in values.values())
    by_frame = [
        spread(series[frame] for series in values.values() if frame < len(series))
        for frame in range(length)
    ]
    num_frames = sum(len(series) for series in values.values())
    identical = sum(video.num_infinite for video in by_video.values())
    return MetricSummary(
        overall=spread(means),
        videos=by_video,
        frames=by_frame,
        num_frames=num_frames,
        num_identical=identical,
    )


def overall_rows(
    summaries: Mapping[str, MetricSummary], missing: Mapping[str, str]
) -> list[list[str]]:
    """The table of all metrics, its header first; metrics that are not computed give the reason."""
    rows = [["metric", "better", "mean", "std over videos", "videos", "frames", "identical frames"]]
    for name, summary in summaries.items():
        overall, digits = summary.overall, DIGITS[name]
        counts = (len(summary.videos), summary.num_frames, summary.num_identical)
        cells = [figure(overall.mean, digits), figure(overall.std, digits, "-")]
        rows.append([TITLES[name], BETTER[name], *cells, *map(str, counts)])
    for name, reason in missing.items():
        rows.append([TITLES[name], BETTER[name], f"not computed: {reason}", "", "", "", ""])
    return rows


def video_rows(
    videos: Mapping[str, Comparison], summaries: Mapping[str, MetricSummary]
) -> list[list[str]]:
    """The table of the videos' means of each metric, its header first."""
    rows = [["video", "frames", "size", *(TITLES[name] for name in summaries)]]
    for key, video in videos.items():
        cells = [figure(s.videos[key].mean, DIGITS[name]) for name, s in summaries.items()]
        size = f"{video.prediction.height}x{video.prediction.width}"
        rows.append([key, str(video.num_frames), size, *cells])
    return rows


def figure(value: float | None, digits: int, without: str = "inf") -> str:
    """A number for a table; None, the mean over identical frames alone, is infinite."""
    return without if value is None else f"{value:.{digits}f}"


def markdown(rows: list[list[str]]) -> str:
    """A table in Markdown, its first row the header, with aligned columns."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    # Long cells, such as the reason why a metric is missing, don't widen their column.
    widths = [
        max((len(c) for c in column if len(c) <= 40), default=3)
        for column in zip(*rows, strict=True)
    ]
    lines = [
        "| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([lines[0], rule, *lines[1:]])
