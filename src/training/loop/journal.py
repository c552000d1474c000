"""The outputs of a job: journal, progress bar, trackers, pictures, the record of a failed step.

The journal `<output_dir>/steps.jsonl` has a line of JSON for each step.
"""

import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import UInt8
from torch import Tensor
from tqdm import tqdm

from ...io.atomic import is_temporary, write_text
from ...io.image import write_png
from ...io.json_object import write_json
from ...runtime import InputError, get_logger
from ..checkpoints.writing import writing
from ..settings import LoopConfig
from ..task import Validation
from .interruption import Stopped

if TYPE_CHECKING:
    from accelerate import Accelerator

LOGGER = get_logger(__name__)
JOURNAL, DAMAGED, FAILED = "steps.jsonl", "steps.damaged.jsonl", "failed"
# Prefix of the figures of held-out samples.
VALIDATION = "validation_"
CONFIG_NAME = "config.yaml"
# Seconds between two updates of a progress bar on a terminal and in a file.
INTERVAL, QUIET_INTERVAL = 0.1, 30
PICTURES = "validation"


class NonFiniteStep(Stopped):
    """A loss or a gradient is not finite; no checkpoint contains an update with it."""


class Report:
    """The outputs of a job; only the main process has any."""

    def __init__(
        self, accelerator: "Accelerator", loop: LoopConfig, step: int, settings: str
    ) -> None:
        """Resume after `step`; writes the `settings` into the folder.

        The journal keeps the lines up to `step`: later updates are lost. Raises `InputError` if a
        file cannot be read or written.
        """
        self.accelerator, self.loop, self.step = accelerator, loop, step
        self.folder, self.main = Path(loop.output_dir), accelerator.is_main_process
        self._bar: tqdm[Any] | None = None
        if self.main:
            write_text(self.folder / CONFIG_NAME, settings)
            _remove_temporaries(self.folder)
            self._validated = _shorten(self.folder / JOURNAL, step)

    @contextmanager
    def until(self, last: int) -> Iterator[None]:
        """Show a progress bar inside the block."""
        interval = INTERVAL if sys.stderr.isatty() else QUIET_INTERVAL
        name, hidden = self.loop.name, not self.main
        with tqdm(
            total=last, initial=self.step, desc=name, disable=hidden, mininterval=interval
        ) as self._bar:
            yield

    def steps(self, record: Mapping[str, float]) -> None:
        """Show and write the figures of the steps since the last call."""
        if not self.main:
            return
        done, self.step = int(record["step"]) - self.step, int(record["step"])
        self._append(record)
        self.accelerator.log(dict(record), step=self.step)
        if self._bar is not None:
            shown = {"loss": f"{record['loss']:.4g}", "lr": f"{record['lr']:.2g}"}
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(done)

    def lacks_validation(self, step: int) -> bool:
        """Whether the journal had no validation of `step` when it was opened."""
        return self.main and step not in self._validated

    def validation(self, step: int, result: Validation) -> None:
        """Show and write the figures and the picture of held-out samples, if there are any."""
        if not self.main or not result.count:
            return
        figures = {f"{VALIDATION}{name}": value for name, value in result.figures.items()}
        LOGGER.info("step %d, %d samples: %s", step, result.count, figures)
        if result.picture is not None:
            write_png(self.folder / PICTURES / f"step-{step:06d}.png", result.picture)
            self._show(result.picture, step)
        # Written last: the line marks the validation as complete.
        self._append({"step": step, **figures})
        self.accelerator.log(figures, step=step)

    def _show(self, picture: UInt8[Tensor, "h w 3"], step: int) -> None:
        """Send a picture to the trackers that accept pictures."""
        pictures = {"validation": picture[None].cpu().numpy()}
        layout = {"tensorboard": {"dataformats": "NHWC"}, "wandb": {}}
        for tracker in self.accelerator.trackers:
            if tracker.name in layout:
                tracker.log_images(pictures, step=step, **layout[tracker.name])

    def _append(self, record: Mapping[str, float]) -> None:
        """Append a line to the journal; raises `InputError` if it cannot be written."""
        path = self.folder / JOURNAL
        with writing(path), path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


def read_journal(output_dir: Path) -> list[dict[str, float]]:
    """Returns the steps of a run, in order.

    Raises `InputError` if the run has no journal, or a line is damaged.
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
    write_json(path, {"step": step, "rank": rank, "keys": keys, "terms": values}, indent=2)
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


def _shorten(path: Path, step: int) -> set[int]:
    """Keep the lines of a journal up to a `step`; returns the steps with a validation.

    Lines that are damaged, or half written by a killed run, move to another file.
    """
    with writing(path):
        records, damaged = _read(path)
        if damaged:
            aside = path.with_name(DAMAGED)
            with aside.open("ab") as file:
                file.writelines(line + b"\n" for _, line in damaged)
            LOGGER.warning(
                "%s: %d damaged lines are set aside in %s", path, len(damaged), aside.name
            )
        kept = [(line, record) for line, record in records if record["step"] <= step]
        write_text(path, "".join(f"{line}\n" for line, _ in kept))
    prefixed = [record for _, record in kept if any(key.startswith(VALIDATION) for key in record)]
    return {record["step"] for record in prefixed}


def _remove_temporaries(folder: Path) -> None:
    """Remove unfinished files of a killed job; the lock keeps other jobs out."""
    for place in (folder, folder / PICTURES, folder / FAILED):
        for path in place.glob(".*"):
            if is_temporary(path) and path.is_file():
                path.unlink()
