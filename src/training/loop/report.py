"""The outputs of a job: journal, progress bar, trackers, pictures."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from ...io.atomic import atomic_path, is_temporary
from ...runtime import get_logger
from ..checkpoints.writing import writing
from ..settings import LoopConfig
from ..task import Validation
from .journal import FAILED, VALIDATION, Journal
from .validation import PICTURES, show_picture, write_picture

if TYPE_CHECKING:
    from accelerate import Accelerator

LOGGER = get_logger(__name__)
CONFIG_NAME = "config.yaml"
# Seconds between two updates of a progress bar on a terminal and in a file.
INTERVAL, QUIET_INTERVAL = 0.1, 30


class Report:
    """The outputs of a job; only the main process has any."""

    def __init__(
        self, accelerator: "Accelerator", loop: LoopConfig, step: int, settings: str
    ) -> None:
        """Resume after `step`; writes the `settings` into the folder."""
        self.accelerator, self.loop, self.step = accelerator, loop, step
        self.folder, self.main = Path(loop.output_dir), accelerator.is_main_process
        self._bar: tqdm[Any] | None = None
        if self.main:
            path = self.folder / CONFIG_NAME
            with writing(path), atomic_path(path) as temporary:
                temporary.write_text(settings, encoding="utf-8")
            _remove_temporaries(self.folder)
            self.journal = Journal(self.folder, step)

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
        self.journal.write(record)
        self.accelerator.log(dict(record), step=self.step)
        if self._bar is not None:
            shown = {"loss": f"{record['loss']:.4g}", "lr": f"{record['lr']:.2g}"}
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(done)

    def lacks_validation(self, step: int) -> bool:
        """Whether the journal has no validation of `step`."""
        return self.main and not self.journal.has_validation(step)

    def validation(self, step: int, result: Validation) -> None:
        """Show and write the figures and the picture of held-out samples, if there are any."""
        if not self.main or not result.count:
            return
        figures = {f"{VALIDATION}{name}": value for name, value in result.figures.items()}
        LOGGER.info("step %d, %d samples: %s", step, result.count, figures)
        if result.picture is not None:
            write_picture(self.folder, step, result.picture)
            show_picture(self.accelerator.trackers, result.picture, step)
        # Written last: the line marks the validation as complete.
        self.journal.write({"step": step, **figures})
        self.accelerator.log(figures, step=step)


def _remove_temporaries(folder: Path) -> None:
    """Remove unfinished files of a killed job; the lock keeps other jobs out."""
    for place in (folder, folder / PICTURES, folder / FAILED):
        for path in place.glob(".*"):
            if is_temporary(path) and path.is_file():
                path.unlink()
