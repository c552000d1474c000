"""The whole evaluation: worlds in groups through the networks, figures and sheets to the disk."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch

from src.io.atomic import atomic_path
from src.io.json_object import write_json
from src.runtime import get_logger, progress

from .checks import DEFINITION, state_checks
from .figures.moving import MovingWorlds
from .figures.stills import StillWorlds
from .ledger import Ledger
from .networks import Networks
from .report.sheets import Sheets
from .settings import PARTS, Settings

LOGGER = get_logger(__name__)
# Worlds that go through the networks together; each has six clips.
GROUP = {"cuda": 8, "cpu": 1}
# The parts that see each kind of worlds.
KINDS = {
    "still": ("tokenizer", "depth", "generator", "static"),
    "moving": ("tokenizer", "generator", "dynamic"),
}
FIGURES, TABLE = "evaluation.json", "seeds.csv"


@torch.inference_mode()
def evaluate(settings: Settings, device: torch.device) -> dict[str, object]:
    """The content of `evaluation.json`, once everything is written.

    Raises:
        InputError: weights that are needed and missing, damaged or of another architecture.
    """
    ledger, sheets = Ledger(), Sheets(settings.pictured)
    networks = Networks(settings, device)
    parts = (settings, networks, ledger, sheets)
    minutes = math.inf if settings.minutes is None else settings.minutes
    works = {"still": StillWorlds(*parts).evaluate, "moving": MovingWorlds(*parts).evaluate}
    end = time.monotonic() + 60 * minutes
    seconds, seen = {}, {}
    for kind, work in works.items():
        if settings.wants(*KINDS[kind]):
            groups = _groups(settings, kind, device)
            seen[kind], seconds[f"{kind} worlds"] = _in_groups(work, groups, kind, end)
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
    """Write figures and table of an evaluation, whose sheets are there."""
    write_json(folder / FIGURES, content)
    with atomic_path(folder / TABLE) as temporary:
        temporary.write_text(table, encoding="utf-8")


def _groups(settings: Settings, kind: str, device: torch.device) -> list[range]:
    seeds, step = settings.worlds(kind == "moving"), GROUP[device.type]
    return [seeds[start : start + step] for start in range(0, len(seeds), step)]


def _in_groups(
    work: Callable[[range], None], groups: Sequence[range], kind: str, end: float
) -> tuple[int, float]:
    """Let `work` see one group of worlds after another, beginning none after the moment `end`.

    Returns how many worlds it saw and the seconds that it took.
    """
    begin, seen = time.perf_counter(), 0
    # Compiling the renderer takes longer than rendering so few worlds.
    with torch.compiler.set_stance("force_eager"):
        for group in progress(groups, f"{kind} worlds", len(groups)):
            if time.monotonic() >= end:
                break
            work(group)
            # Queued work would look as if it took no time.
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seen += len(group)
    wished = sum(len(group) for group in groups)
    if seen < wished:
        LOGGER.warning("the time is over: %d of %d %s worlds were seen", seen, wished, kind)
    return seen, round(time.perf_counter() - begin, 1)
