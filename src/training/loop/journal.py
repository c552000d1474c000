"""The record of a run: one line of JSON a step, and what is said of a step that went wrong."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...io.atomic import atomic_path
from ...io.json_object import write_json
from ...runtime import InputError, get_logger
from ..checkpoints.writing import writing
from .interruption import Stopped

LOGGER = get_logger(__name__)
JOURNAL, DAMAGED, FAILED = "steps.jsonl", "steps.damaged.jsonl", "failed"
# Begins the names of figures of held-out samples.
VALIDATION = "validation_"


class NonFiniteStep(Stopped):
    """A loss or a gradient is infinite or not a number; no checkpoint was updated with it."""


class Journal:
    """`<output_dir>/steps.jsonl`; a resumed run goes on where its checkpoint is."""

    def __init__(self, output_dir: Path, step: int) -> None:
        """Keep the lines up to `step`; later ones belong to updates that were lost.

        Lines that are damaged, or half written by a run that was killed, are set aside.

        Raises:
            InputError: the file cannot be read or written.
        """
        self.path = output_dir / JOURNAL
        with writing(self.path):
            records, damaged = _read(self.path)
            if damaged:
                self._set_aside([line for _, line in damaged])
            kept = [(line, record) for line, record in records if record["step"] <= step]
            self._validated = {record["step"] for _, record in kept if _is_validation(record)}
            with atomic_path(self.path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line, _ in kept), encoding="utf-8")

    def has_validation(self, step: int) -> bool:
        """Whether figures of held-out samples at `step` were there from the beginning."""
        return step in self._validated

    def _set_aside(self, lines: list[bytes]) -> None:
        """Keep lines that are no records in a file of their own, and say so."""
        path = self.path.with_name(DAMAGED)
        with path.open("ab") as file:
            file.writelines(line + b"\n" for line in lines)
        LOGGER.warning("%s: %d damaged lines are set aside in %s", self.path, len(lines), path.name)

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
        InputError: the run has written none, or a line is damaged.
    """
    path = output_dir / JOURNAL
    if not path.is_file():
        raise InputError(path, "no such file", "the output folder of a training")
    records, damaged = _read(path)
    for number, line in damaged:
        # A training that goes on, or was killed, may have written half of the last line.
        if number:
            raise InputError(path, f"{line[:40]!r} in line {number}", 'an object with a "step"')
    return [record for _, record in records]


def record_failure(
    output_dir: Path, step: int, rank: int, keys: list[str], terms: Mapping[str, float]
) -> Path:
    """Say which samples and which terms a step failed with; returns the file."""
    path = output_dir / FAILED / f"step-{step}-rank-{rank}.json"
    # JSON has no NaN.
    values = {name: value if math.isfinite(value) else str(value) for name, value in terms.items()}
    with writing(path):
        content = {"step": step, "rank": rank, "keys": keys, "terms": values}
        write_json(path, content, indent=2)
    return path


def _read(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[tuple[int, bytes]]]:
    """The lines of a journal with their records; and what is none, with its line number.

    The number is 0 for the rest of a file that does not end with a line break.
    """
    if not path.exists():
        return [], []
    *lines, rest = path.read_bytes().split(b"\n")
    records, damaged = [], []
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        if record is None:
            damaged.append((number, line))
        else:
            records.append((line.decode(), record))
    return records, damaged + ([(0, rest)] if rest else [])


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a step; None for anything else."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and type(record.get("step")) is int else None


def _is_validation(record: Mapping[str, object]) -> bool:
    return any(name.startswith(VALIDATION) for name in record)
