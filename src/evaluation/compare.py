"""Metrics of a predicted video against its reference, frame by frame, in small batches.

Means and standard deviations over videos are numbers and tables: the mean of a video is over its
frames; mean and standard deviation of a metric are over the means of the videos. The deviation is
that of the population, `sqrt(mean(x^2) - mean(x)^2)`, not the unbiased one of a sample. Infinite
values (the PSNR of identical frames) are left out and counted.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from ..geometry.fit import cover_size, cut_middle
from ..runtime import InputError, get_logger
from .metrics import BACKBONE_FILE, LINEAR_FILE, LPIPS, SSIM_WINDOW, load_lpips, psnr, ssim
from .sources import Footage, open_footage

LOGGER = get_logger(__name__)
Measure = Callable[[Tensor, Tensor], Tensor]
METRICS = ("psnr", "ssim", "lpips")
# The smallest side of a frame for each metric; VGG16 halves frames four times.
SMALLEST = {"psnr": 1, "ssim": SSIM_WINDOW, "lpips": 16}
# Pixels in memory at once: four frames of 704x1280. VGG16 takes 1.6 GiB for one pair of them.
BATCH_PIXELS, LPIPS_PIXELS = 4 * 704 * 1280, 704 * 1280
TITLES = {"psnr": "PSNR (dB)", "ssim": "SSIM", "lpips": "LPIPS (VGG)"}
BETTER = {"psnr": "higher", "ssim": "higher", "lpips": "lower"}
DIGITS = {"psnr": 2, "ssim": 4, "lpips": 4}


@dataclass(frozen=True, kw_only=True)
class CompareOptions:
    """The treatment of two videos of different length or size."""

    # The number of frames from the first on, or as many as both have; None asks for equal lengths.
    frames: int | Literal["common"] | None = None
    # `crop` brings the reference to the size of the prediction.
    resize: Literal["none", "crop"] = "none"


@dataclass(frozen=True)
class Measures:
    """Metrics by name, and the reasons why others cannot be computed."""

    functions: dict[str, Measure]
    missing: dict[str, str]
    device: torch.device


@dataclass(frozen=True)
class Comparison:
    """Two videos and their number of frames to compare, at the size of the prediction."""

    prediction: Footage
    reference: Footage
    num_frames: int


def load_measures(
    names: tuple[str, ...], lpips_folder: Path, device: torch.device | str = "cpu"
) -> Measures:
    """The metrics `names`; LPIPS only if its weights are in `lpips_folder`.

    Raises `InputError` for an unknown name, or weights that cannot be used.
    """
    device = torch.device(device)
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise InputError("metrics", unknown or "none", f"some of {', '.join(METRICS)}")
    table: dict[str, Measure] = {"psnr": psnr, "ssim": ssim}
    functions = {name: table[name] for name in names if name in table}
    missing = {}
    if "lpips" in names:
        absent = [n for n in (BACKBONE_FILE, LINEAR_FILE) if not (lpips_folder / n).is_file()]
        if absent:
            missing["lpips"] = f"no weights in {lpips_folder}"
            words = "lpips is not computed: %s lacks %s; `%s` gets them"
            command = "python scripts/download_checkpoints.py --what lpips"
            LOGGER.warning(words, lpips_folder, " and ".join(absent), command)
        else:
            functions["lpips"] = partial(_lpips_in_chunks, load_lpips(lpips_folder, device))
    return Measures(functions, missing, device)


def plan_comparison(prediction: Path, reference: Path, options: CompareOptions) -> Comparison:
    """Two videos whose lengths and sizes fit, or fit by `options`; else `InputError`."""
    ours, theirs = open_footage(prediction), open_footage(reference)
    both = f"{prediction} and {reference}"
    common = min(ours.num_frames, theirs.num_frames)
    if options.frames is None and ours.num_frames != theirs.num_frames:
        expected = "equal lengths, or --frames, which cuts both"
        raise InputError(both, f"{ours.num_frames} and {theirs.num_frames} frames", expected)
    if isinstance(options.frames, int) and not 0 < options.frames <= common:
        expected = f"at least 1 and at most as many as both have ({common})"
        raise InputError(both, f"--frames {options.frames}", expected)
    sizes = f"{ours.height}x{ours.width} and {theirs.height}x{theirs.width}"
    if options.resize == "none" and (ours.height, ours.width) != (theirs.height, theirs.width):
        raise InputError(both, f"{sizes} pixels", "equal sizes, or --resize crop")
    return Comparison(ours, theirs, options.frames if isinstance(options.frames, int) else common)


@torch.no_grad()
def measure(comparison: Comparison, measures: Measures) -> dict[str, list[float]]:
    """The values of each metric by frame; the PSNR of identical frames is infinite."""
    ours, theirs = comparison.prediction, comparison.reference
    for name in measures.functions:
        if min(ours.height, ours.width) < SMALLEST[name]:
            expected = f"at least {SMALLEST[name]} pixels a side for {name}"
            raise InputError(ours.path, f"{ours.height}x{ours.width} pixels", expected)
    values: dict[str, list[float]] = {name: [] for name in measures.functions}
    size = (ours.height, ours.width)
    batch = max(BATCH_PIXELS // max(ours.height * ours.width, theirs.height * theirs.width), 1)
    batches = (
        _batches(f, comparison.num_frames, batch, device=measures.device) for f in (ours, theirs)
    )
    for predicted, target in zip(*batches, strict=True):
        target = fit_reference(target, size)
        for name, function in measures.functions.items():
            values[name] += function(predicted, target).tolist()
    return values


def fit_reference(
    frames: Float[Tensor, "frame 3 h w"], size: tuple[int, int]
) -> Float[Tensor, "frame 3 new_h new_w"]:
    """The middle of the frames, scaled to cover `size` (height, width) with square pixels."""
    scaled = cover_size(frames.shape[-2], frames.shape[-1], size)
    if scaled != tuple(frames.shape[-2:]):
        # Values between bytes, unlike `Fit.resize`: metrics compare them unrounded.
        frames = F.interpolate(frames, scaled, mode="bilinear", antialias=True)
    return cut_middle(frames, size)


def _batches(
    footage: Footage, count: int, batch: int, device: torch.device
) -> Iterator[Float[Tensor, "frame 3 h w"]]:
    frames = footage.frames(count)
    while chunk := list(islice(frames, batch)):
        yield torch.stack(chunk).to(device).permute(0, 3, 1, 2) / 255


def _lpips_in_chunks(
    network: LPIPS, first: Float[Tensor, "frame 3 h w"], second: Float[Tensor, "frame 3 h w"]
) -> Float[Tensor, " frame"]:
    chunk = max(LPIPS_PIXELS // (first.shape[-2] * first.shape[-1]), 1)
    pairs = zip(first.split(chunk), second.split(chunk), strict=True)
    return torch.cat([network(ours, theirs) for ours, theirs in pairs])


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
