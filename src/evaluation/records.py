"""Finished metrics of one video as JSON.

Every metric has a stamp, a digest of its inputs: the files' names, sizes and modification times,
and the options. JSON has no infinity: null is the PSNR of identical frames.
"""

import hashlib
import json
import math
from dataclasses import asdict
from pathlib import Path

from ..io.json_object import write_json
from ..runtime import get_logger
from .compare import CompareOptions, Comparison, VideoMetrics
from .sources import picture_files

LOGGER = get_logger(__name__)
# Increase it when the arithmetic of a metric changes: older records become invalid.
VERSION = 1


def metric_stamp(comparison: Comparison, options: CompareOptions, weights: list[Path]) -> str:
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


def write_record(
    path: Path,
    comparison: Comparison,
    options: CompareOptions,
    metrics: VideoMetrics,
    stamps: dict[str, str],
) -> None:
    """Write the values of every metric with its inputs and options."""
    footage = {"prediction": comparison.prediction, "reference": comparison.reference}
    content = {name: {**asdict(item), "path": str(item.path)} for name, item in footage.items()} | {
        "options": asdict(options),
        "num_frames": metrics.num_frames,
        "stamps": stamps,
    }
    for name, values in metrics.values.items():
        content[name] = [value if math.isfinite(value) else None for value in values]
    write_json(path, content)


def read_values(path: Path, stamps: dict[str, str], num_frames: int) -> dict[str, list[float]]:
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
