"""Figures as Markdown tables, with a dash for each figure that was not measured."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..checks import decoded_times
from ..made import Summary

Figures = Mapping[str, Summary]
DASH = "–"
SOURCES = {"true": "exact depth", "nano": "nano's depth"}
ABLATIONS = {
    "full": "full",
    "truth": "trained on the worlds themselves instead of the generator's clips",
    "one_trajectory": "one trajectory instead of six",
    "no_depth_loss": "without the depth loss",
    "no_pruning": "without opacity pruning",
    "transformer_only": "transformer only, no Mamba-2",
}

DISTILLED = {
    "untrained_35": "not distilled, 35 steps",
    "untrained": "not distilled",
    "consistency": "consistency distillation",
    "distribution": "and then distribution matching",
}
# The steps of those that were not distilled: as few as the others take, or many.
UNDISTILLED = {"untrained_35": 35, "untrained": 4}


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column is text."""
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def decibels(figures: Figures, name: str) -> str:
    """A PSNR as `mean (pooled)`."""
    figure = figures.get(name, {})
    psnr, pooled = figure.get("psnr"), figure.get("pooled")
    if psnr is None or pooled is None:
        return DASH
    return f"{psnr:.2f} ({pooled:.2f})"


def checks_table(checks: Sequence[Mapping[str, Any]]) -> str:
    """The targets, and whether they are reached."""
    said = {True: "yes", False: "**no**", None: DASH}
    rows = [
        [c["what"], _number(c["value"]), _number(c["least"]), _margin(c), said[c["reached"]]]
        for c in checks
    ]
    return markdown(("asked for", "dB", "at least", "margin", "reached"), rows)


def tokenizer_table(figures: Figures) -> str:
    """PSNR in RGB, luma and chroma."""
    rows = {
        "still worlds, moving camera": "tokenizer.static",
        "moving worlds, moving camera": "tokenizer.dynamic",
    }
    return _psnr_table(figures, ("clips", "RGB", "Y", "Cb", "Cr"), rows, ("rgb", "y", "cb", "cr"))


def depth_table(figures: Figures) -> str:
    """Mean and median over pictures of the figures of `depth_figures`."""
    words = {
        "absrel_scaled": "AbsRel, median ratio taken out",
        "delta_scaled": "share of pixels within 1.25, median ratio taken out",
        "absrel": "AbsRel as predicted",
        "delta": "share of pixels within 1.25 as predicted",
        "focal": "focal length, relative error",
        "mask": "share of pixels rightly known or unknown",
    }
    rows = []
    for name, text in words.items():
        figure = figures.get(f"depth.{name}", {})
        rows.append([text, *(_number(figure.get(key), 3) for key in ("mean", "median"))])
    return markdown(("first frames", "mean", "median"), rows)


def generator_table(figures: Figures) -> str:
    """Generated clips between the tokenizer's ceiling and the nearest pixel."""
    rows = {"the tokenizer's ceiling": "ceiling"}
    for prefix, kind in (("", "still"), ("moving_", "moving")):
        for source, depth in SOURCES.items():
            rows[f"generated, {kind}, {depth}"] = f"{prefix}generator.{source}"
            rows[f"nearest pixel, {kind}, {depth}"] = f"{prefix}nearest.{source}"
    head = ("clips", "visible", "hidden", "all", "last frame")
    return _psnr_table(figures, head, rows, ("visible", "hidden", "all", "last"))


def static_table(figures: Figures) -> str:
    """Gaussians of still scenes, and the unprojected input."""
    rows = {
        "against the RGB decoder's frames": "static.decoded",
        "against the world": "static.truth",
        "against the world, visible pixels": "static.visible",
        "against the world, hidden pixels": "static.hidden",
        "against the world, ends of the trajectories": "static.ends",
        "unprojected input, ends, white background": "unprojected.ends",
        "unprojected input, ends, background of its mean colour": "unprojected.tinted",
    }
    shares = [figures.get(f"static.opacity.{source}", {}).get("mean") for source in SOURCES]
    cells = " | ".join(_number(share) for share in shares)
    return f"{_by_source(figures, rows)}\n| median opacity (a share) | {cells} |"


def dynamic_table(figures: Figures) -> str:
    """Gaussians of moving scenes, over all pixels and over moving ones."""
    rows = {"against the RGB decoder's frames, same moments": "dynamic.decoded"}
    rows |= {
        f"against the world, ends, time {time}": f"dynamic.time_{time}"
        for time in decoded_times(figures)
    }
    rows |= {
        "against the world, ends, all three times": "dynamic.ends",
        "unprojected input of the same time, ends": "moving_unprojected.ends",
        "moving pixels": "dynamic.moving",
        "moving pixels, had our scene stood still": "dynamic.moving_if_frozen",
        "moving pixels, had the exact world stood still": "dynamic.moving_truth_frozen",
    }
    return _by_source(figures, rows)


def ablation_table(found: Mapping[str, Figures]) -> str:
    """A row for every ablation that was evaluated; the others are named below."""
    names = ("static.decoded", "static.truth", "static.hidden", "static.ends")
    rows = [
        [text, *(decibels(found[key], f"{name}.true") for name in names)]
        for key, text in ABLATIONS.items()
        if key in found
    ]
    head = ("decoder", "decoded frames", "world", "world, hidden pixels", "world, ends")
    missing = [text for key, text in ABLATIONS.items() if key not in found]
    table = markdown(head, rows) if rows else ""
    note = f"Not run: {'; '.join(missing)}." if missing else ""
    return "\n\n".join(part for part in (table, note) if part)


def distillation_table(found: Mapping[str, Figures]) -> str:
    """Clips of still worlds by each generator of four steps that was evaluated."""
    parts = ("visible", "hidden", "all", "last")
    rows = []
    for key, text in DISTILLED.items():
        figures = found.get(key)
        if figures is not None:
            cells = [decibels(figures, f"generator.true.{part}") for part in parts]
            detail = figures.get("detail.generator.true", {}).get("mean")
            rows.append([text, *cells, _number(detail)])
    return markdown(("generator in four steps", *parts[:3], "last frame", "detail, hidden"), rows)


def _by_source(figures: Figures, rows: Mapping[str, str]) -> str:
    return _psnr_table(figures, ("rendered Gaussians", *SOURCES.values()), rows, [*SOURCES])


def _psnr_table(
    figures: Figures, head: Sequence[str], rows: Mapping[str, str], parts: Sequence[str]
) -> str:
    """A table of the figures `NAME.PART`: `rows` maps text to NAME, each part is a column."""
    cells = [
        [text, *(decibels(figures, f"{name}.{part}") for part in parts)]
        for text, name in rows.items()
    ]
    return markdown(head, cells)


def _number(value: float | None, digits: int = 2) -> str:
    return DASH if value is None else f"{value:.{digits}f}"


def _margin(check: Mapping[str, Any]) -> str:
    if check["value"] is None or check["least"] is None:
        return DASH
    return f"{check['value'] - check['least']:+.2f}"
