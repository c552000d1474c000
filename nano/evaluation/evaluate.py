"""The whole evaluation: runs groups of worlds through the networks, writes figures and sheets."""

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from src.io.atomic import atomic_path
from src.io.json_object import write_json
from src.runtime import get_logger, progress

from ..clips.networks import Networks
from .checks import DEFINITION, state_checks
from .figures.moving import MovingWorlds
from .figures.stills import StillWorlds
from .made import PARTS, Ledger, Settings, Sheets

LOGGER = get_logger(__name__)
# Worlds that go through the networks together; each has six clips.
GROUP = {"cuda": 8, "cpu": 1}
# The parts that use each kind of worlds.
KINDS = {
    "still": ("tokenizer", "depth", "generator", "static"),
    "moving": ("tokenizer", "generator", "dynamic"),
}
FIGURES, TABLE = "evaluation.json", "seeds.csv"


@torch.inference_mode()
def evaluate(settings: Settings, device: torch.device) -> dict[str, object]:
    """Write an evaluation; returns the content of `evaluation.json`.

    Raises `InputError` if needed weights are missing, damaged or of another architecture.
    """
    ledger, sheets = Ledger(), Sheets(settings.pictured)
    networks = Networks(
        settings.nano, device, settings.decoders, settings.generator, num_steps=settings.num_steps
    )
    minutes = math.inf if settings.minutes is None else settings.minutes
    works = {
        "still": StillWorlds(settings, networks, ledger, sheets).evaluate,
        "moving": MovingWorlds(settings, networks, ledger, sheets).evaluate,
    }
    end = time.monotonic() + 60 * minutes
    seconds, seen = {}, {}
    for kind, work in works.items():
        if settings.wants(*KINDS[kind]):
            worlds = settings.worlds(kind == "moving")
            seen[kind], seconds[f"{kind} worlds"] = _in_groups(
                work, worlds, GROUP[device.type], kind=kind, end=end
            )
    figures = ledger.figures()
    content: dict[str, object] = {
        "settings": settings.jsonable(),
        "worlds": {
            part: {kind: count for kind, count in seen.items() if part in KINDS[kind]}
            for part in PARTS
            if settings.wants(part)
        },
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "seconds": seconds,
        "definition": DEFINITION,
        "figures": figures,
        "checks": state_checks(figures),
        "sheets": sheets.write(settings.output),
    }
    write_evaluation(settings.output, content, ledger.table())
    return content


def write_evaluation(folder: Path, content: Mapping[str, object], table: str) -> None:
    """Write the figures and the table of an evaluation."""
    write_json(folder / FIGURES, content)
    with atomic_path(folder / TABLE) as temporary:
        temporary.write_text(table, encoding="utf-8")


def _in_groups(
    work: Callable[[range], None], seeds: range, at_once: int, kind: str, end: float
) -> tuple[int, float]:
    """Evaluate groups of worlds until the moment `end`; returns their worlds and the seconds."""
    begin, seen = time.perf_counter(), 0
    groups = [seeds[start : start + at_once] for start in range(0, len(seeds), at_once)]
    # Compiling the renderer would take longer than rendering these worlds.
    with torch.compiler.set_stance("force_eager"):
        for group in progress(groups, f"{kind} worlds", len(groups)):
            if time.monotonic() >= end:
                break
            work(group)
            # Wait for queued work, which would not be timed otherwise.
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seen += len(group)
    if seen < len(seeds):
        LOGGER.warning("out of time: %d of %d %s worlds were seen", seen, len(seeds), kind)
    return seen, round(time.perf_counter() - begin, 1)
