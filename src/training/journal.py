"""The record of a run: one line of JSON a step, and what is said of a step that went wrong."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from ..io.atomic import atomic_path
from ..runtime import InputError
from .interruption import Stopped
from .writing import writing

JOURNAL, FAILED = "steps.jsonl", "failed"


class NonFiniteStep(Stopped):
    """A loss or a gradient is infinite or not a number; no checkpoint was updated with it."""


class Journal:
    """`<output_dir>/steps.jsonl`; a resumed run goes on where its checkpoint is."""

    def __init__(self, output_dir: Path, step: int) -> None:
        """Keep the lines up to `step`; later ones belong to updates that were lost."""
        self.path = output_dir / JOURNAL
        kept = [line for line in _lines(self.path) if _step(line) <= step]
        with writing(self.path), atomic_path(self.path) as temporary:
            temporary.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")

    def write(self, record: Mapping[str, float]) -> None:
        """Append one step.

        Raises:
            InputError: the file cannot be written.
        """
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def read_journal(output_dir: Path) -> list[dict[str, float]]:
    """The steps of a run, in order.

    Raises:
        InputError: the run has written none.
    """
    path = output_dir / JOURNAL
    if not path.is_file():
        raise InputError(path, "no such file", "the output folder of a training")
    return [json.loads(line) for line in _lines(path)]


def record_failure(
    output_dir: Path, step: int, rank: int, keys: list[str], terms: Mapping[str, float]
) -> Path:
    """Say which samples and which terms a step failed with; returns the file."""
    path = output_dir / FAILED / f"step-{step}-rank-{rank}.json"
    # JSON has no NaN.
    values = {name: value if math.isfinite(value) else str(value) for name, value in terms.items()}
    with writing(path), atomic_path(path) as temporary:
        content = {"step": step, "rank": rank, "keys": keys, "terms": values}
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path


def _lines(path: Path) -> list[str]:
    """The whole lines; a killed run may leave half of one."""
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()


def _step(line: str) -> int:
    return int(json.loads(line)["step"])
