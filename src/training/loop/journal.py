"""The journal of a run: a line of JSON for each step, and the record of a failed step."""

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
# Prefix of the figures of held-out samples.
VALIDATION = "validation_"


class NonFiniteStep(Stopped):
    """A loss or a gradient is not finite; no checkpoint contains an update with it."""


class Journal:
    """The file `<output_dir>/steps.jsonl`."""

    def __init__(self, output_dir: Path, step: int) -> None:
        """Keep the lines up to the checkpoint's `step`; the later updates are lost.

        Lines that are damaged, or half written by a killed run, move to another file.

        Raises:
            InputError: the file cannot be read or written.
        """
        self.path = output_dir / JOURNAL
        with writing(self.path):
            records, damaged = _read(self.path)
            if damaged:
                self._set_aside([line for _, line in damaged])
            kept = [(line, record) for line, record in records if record["step"] <= step]
            self._validated = {
                record["step"]
                for _, record in kept
                if any(name.startswith(VALIDATION) for name in record)
            }
            with atomic_path(self.path) as temporary:
                temporary.write_text("".join(f"{line}\n" for line, _ in kept), encoding="utf-8")

    def has_validation(self, step: int) -> bool:
        """Whether the file had a validation at `step` when it was opened."""
        return step in self._validated

    def _set_aside(self, lines: list[bytes]) -> None:
        """Move damaged lines to a file of their own, with a warning."""
        path = self.path.with_name(DAMAGED)
        with path.open("ab") as file:
            file.writelines(line + b"\n" for line in lines)
        LOGGER.warning("%s: %d damaged lines are set aside in %s", self.path, len(lines), path.name)

    def write(self, record: Mapping[str, float]) -> None:
        """Append one step; raises `InputError` if the file cannot be written."""
        with writing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def read_journal(output_dir: Path) -> list[dict[str, float]]:
    """Returns the steps of a run, in order.

    Raises:
        InputError: the run has no journal, or a line is damaged.
    """
    path = output_dir / JOURNAL
    if not path.is_file():
        raise InputError(path, "no such file", "the output folder of a training")
    records, damaged = _read(path)
    for number, line in damaged:
        # A training that runs, or was killed, may have written half of the last line.
        if number:
            raise InputError(path, f"{line[:40]!r} in line {number}", 'an object with a "step"')
    return [record for _, record in records]


def record_failure(
    output_dir: Path, step: int, rank: int, keys: list[str], terms: Mapping[str, float]
) -> Path:
    """Write the samples and the terms of a failed step; returns the file."""
    path = output_dir / FAILED / f"step-{step}-rank-{rank}.json"
    # JSON has no NaN.
    values = {name: value if math.isfinite(value) else str(value) for name, value in terms.items()}
    with writing(path):
        content = {"step": step, "rank": rank, "keys": keys, "terms": values}
        write_json(path, content, indent=2)
    return path


def _read(path: Path) -> tuple[list[tuple[str, dict[str, Any]]], list[tuple[int, bytes]]]:
    """Returns the lines with their records, and the damaged lines with their numbers.

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
    """Returns the record of a step; None for any other line."""
    try:
        record = json.loads(line.decode())
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and type(record.get("step")) is int else None
