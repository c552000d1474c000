"""The whole evaluation: worlds in groups through the networks, figures and sheets to the disk."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch

from src.io.atomic import atomic_path
from src.runtime import get_logger, progress

from .checks import DEFINITION, all_checks
from .ledger import Ledger
from .moving import MovingWorlds
from .networks import Networks
from .settings import Settings
from .sheets import Sheets
from .stills import StillWorlds

LOGGER = get_logger(__name__)
# Worlds that go through the networks together; each has six clips.
GROUP = {"cuda": 8, "cpu": 1}
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
    seconds = {}
    if settings.wants("tokenizer", "depth", "generator", "static"):
        seconds["still worlds"] = _in_groups(StillWorlds(*parts).evaluate, settings, False, device)
    if settings.wants("tokenizer", "generator", "dynamic"):
        seconds["moving worlds"] = _in_groups(MovingWorlds(*parts).evaluate, settings, True, device)
    figures = ledger.figures()
    stated = {name: str(value) for name, value in asdict(settings).items()}
    content: dict[str, object] = {
        "settings": stated,
        "hardware": torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU",
        "seconds": seconds,
        "definition": DEFINITION,
        "figures": figures,
        "checks": [asdict(c) | {"reached": c.reached} for c in all_checks(figures)],
        "sheets": sheets.write(settings.output),
    }
    _write(settings.output / FIGURES, json.dumps(content, indent=1, allow_nan=False) + "\n")
    _write(settings.output / TABLE, ledger.table())
    return content


def _in_groups(
    work: Callable[[range], None], settings: Settings, dynamic: bool, device: torch.device
) -> float:
    """Let `work` see all worlds, some at a time; returns the seconds that it took."""
    seeds, step = settings.worlds(dynamic), GROUP[device.type]
    begin = time.perf_counter()
    # Compiling the renderer takes longer than rendering so few worlds.
    with torch.compiler.set_stance("force_eager"):
        groups = [seeds[start : start + step] for start in range(0, len(seeds), step)]
        for group in progress(groups, "moving worlds" if dynamic else "still worlds", len(groups)):
            work(group)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return round(time.perf_counter() - begin, 1)


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
