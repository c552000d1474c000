"""The evaluation of two folders: a record for every video, a summary table and plots.

In a record every metric has a stamp, a digest of its inputs: the files' names, sizes and
modification times, and the options. JSON has no infinity: null is the PSNR of identical frames.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ..io.atomic import atomic_path
from ..io.image import write_png
from ..io.json_object import write_json
from ..runtime import InputError, get_logger, listed, progress
from ..visualization import plot_curve
from .compare import (
    BETTER,
    METRICS,
    TITLES,
    CompareOptions,
    Comparison,
    Measures,
    MetricSummary,
    load_measures,
    markdown,
    measure,
    overall_rows,
    plan_comparison,
    summarise,
    video_rows,
)
from .metrics import BACKBONE_FILE, LINEAR_FILE
from .sources import find_pairs, picture_files

LOGGER = get_logger(__name__)
LEGEND = (
    "Mean of a video: over its frames. Mean and standard deviation: over the means of the videos "
    "(population, sqrt(mean(x^2) - mean(x)^2)). Identical frames have an infinite PSNR; they are "
    "counted and left out of means. PSNR of 8-bit RGB in [0, 1], clipped, over channels and "
    "pixels; SSIM with an 11-pixel Gaussian window of sigma 1.5; LPIPS 0.1 with VGG16."
)
# Increase it when the arithmetic of a metric changes: older records become invalid.
VERSION = 1


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """The inputs, the metrics and the output folder of an evaluation."""

    # A folder of videos, pictures or folders of frames; or one of these.
    prediction: Path
    reference: Path
    # For metrics/<name>.json, summary.json, summary.md and a plot of each metric.
    out: Path
    metrics: tuple[str, ...] = ("psnr", "ssim", "lpips")
    lpips_folder: Path = Path("checkpoints/lpips")
    # Leave out names that only one folder has; otherwise they are an error.
    common_names: bool = False
    options: CompareOptions = field(default_factory=CompareOptions)
    device: str = "cpu"


def evaluate(config: EvaluationConfig) -> str:
    """Write all results; returns the summary table in Markdown.

    All pairs are opened and checked first. Metrics whose files and options did not change since the
    last run are read from their records. Raises `InputError` for nothing to compare, names, lengths
    or sizes that don't fit, an unreadable file.
    """
    pairs, left_out = _find(config)
    plans = {
        name: plan_comparison(pair[0], pair[1], config.options) for name, pair in pairs.items()
    }
    measures = load_measures(config.metrics, config.lpips_folder, config.device)
    values = {
        name: _measure_or_reuse(config, name=name, plan=plan, measures=measures)
        for name, plan in progress(plans.items(), "videos", len(plans))
    }
    summaries = {
        metric: summarise({name: found[metric] for name, found in values.items()})
        for metric in measures.functions
    }
    _write_plots(config.out, summaries)
    return _write_summary(
        config, videos=plans, summaries=summaries, missing=measures.missing, left_out=left_out
    )


def _find(config: EvaluationConfig) -> tuple[dict[str, tuple[Path, Path]], list[str]]:
    for folder in (config.prediction, config.reference):
        if folder.is_dir() and config.out.resolve().is_relative_to(folder.resolve()):
            raise InputError("--out", config.out, f"a folder outside of {folder}, which is read")
    pairs, ours, theirs = find_pairs(config.prediction, config.reference)
    alone = [
        f"{len(names)} only in {folder} ({listed(names)})"
        for names, folder in ((ours, config.prediction), (theirs, config.reference))
        if names
    ]
    if alone and not config.common_names:
        both = f"{config.prediction} and {config.reference}"
        expected = "the same names in both, or --common_names, which leaves these out"
        raise InputError(both, "; ".join(alone), expected)
    for text in alone:
        LOGGER.warning("left out: %s", text)
    return pairs, alone


def _measure_or_reuse(
    config: EvaluationConfig, name: str, plan: Comparison, measures: Measures
) -> dict[str, list[float]]:
    path = config.out / "metrics" / f"{name}.json"
    weights = {"lpips": [config.lpips_folder / file for file in (BACKBONE_FILE, LINEAR_FILE)]}
    stamps = {
        metric: _metric_stamp(plan, config.options, weights.get(metric, [])) for metric in METRICS
    }
    values = _read_values(path, stamps, plan.num_frames)
    functions = {key: f for key, f in measures.functions.items() if key not in values}
    if functions:
        # The record keeps valid metrics of earlier runs, also those not requested now.
        values |= measure(plan, replace(measures, functions=functions))
        valid = {key: stamps[key] for key in values}
        _write_record(path, comparison=plan, options=config.options, values=values, stamps=valid)
    return {key: values[key] for key in measures.functions}


def _write_plots(out: Path, summaries: Mapping[str, MetricSummary]) -> None:
    for name, summary in summaries.items():
        count = len(summary.videos)
        subtitle = f"{BETTER[name]} is better; mean of {count} videos, band: 1 standard deviation"
        words, spreads = "frame", summary.frames
        if len(summary.frames) == 1 or count == 1:
            subtitle = f"{BETTER[name]} is better"
        if len(summary.frames) == 1:
            words, spreads = "picture, in the order of names", list(summary.videos.values())
        mean, std = [s.mean for s in spreads], [s.std for s in spreads]
        picture = plot_curve(mean, std, title=TITLES[name], subtitle=subtitle, x=words)
        write_png(out / f"{name}.png", picture)


def _write_summary(
    config: EvaluationConfig,
    videos: Mapping[str, Comparison],
    summaries: Mapping[str, MetricSummary],
    missing: Mapping[str, str],
    left_out: list[str],
) -> str:
    settings = json.loads(json.dumps(asdict(config), default=str))
    content = {
        "settings": settings,
        "left_out": left_out,
        "legend": LEGEND,
        "metrics": {name: asdict(summary) for name, summary in summaries.items()},
        "not_computed": dict(missing),
    }
    write_json(config.out / "summary.json", content)
    table = markdown(overall_rows(summaries, missing))
    parts = [
        "# Evaluation",
        f"Prediction `{config.prediction}`, reference `{config.reference}`; "
        f"frames {config.options.frames or 'all'}, resize {config.options.resize}.",
        *(f"Left out: {text}." for text in left_out),
        table,
        LEGEND,
        "## Videos",
        markdown(video_rows(videos, summaries)),
    ]
    with atomic_path(config.out / "summary.md") as temporary:
        temporary.write_text("\n\n".join(parts) + "\n", "utf-8")
    return table


def _metric_stamp(comparison: Comparison, options: CompareOptions, weights: list[Path]) -> str:
    """A digest of all inputs of a metric; missing files count too."""
    compared = (comparison.prediction, comparison.reference)
    lines = []
    for path in [*weights, *(path for part in compared for path in picture_files(part.path))]:
        found = path.stat() if path.exists() else None
        state = (found.st_size, found.st_mtime_ns) if found else None
        lines.append(f"{path.resolve()} {state}")
    files = hashlib.sha256("\n".join(lines).encode()).hexdigest()
    rest = f"{VERSION} {comparison.num_frames} {options.resize}"
    return hashlib.sha256(f"{files} {rest}".encode()).hexdigest()


def _write_record(
    path: Path,
    comparison: Comparison,
    options: CompareOptions,
    values: dict[str, list[float]],
    stamps: dict[str, str],
) -> None:
    """Write the values of every metric with its inputs and options."""
    footage = {"prediction": comparison.prediction, "reference": comparison.reference}
    content = {name: {**asdict(item), "path": str(item.path)} for name, item in footage.items()} | {
        "options": asdict(options),
        "num_frames": comparison.num_frames,
        "stamps": stamps,
    }
    for name, series in values.items():
        content[name] = [value if math.isfinite(value) else None for value in series]
    write_json(path, content)


def _read_values(path: Path, stamps: dict[str, str], num_frames: int) -> dict[str, list[float]]:
    """The metrics in the record `path` that have the given stamps; none without a record."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        LOGGER.warning("%s: not valid JSON (%s), computed again", path, error)
        return {}
    recorded = content.get("stamps", {}) if isinstance(content, dict) else {}
    return {
        name: [math.inf if value is None else float(value) for value in content[name]]
        for name, stamp in stamps.items()
        if recorded.get(name) == stamp and len(content.get(name, ())) == num_frames
    }
