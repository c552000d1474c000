"""The choice of the checkpoint that a run resumes."""

from pathlib import Path

from ...checkpoints.steps import defect, list_checkpoints, step_of
from ...runtime import InputError, get_logger
from ..checkpoints.files import LATEST, Checkpoint, choose_checkpoint
from ..checkpoints.folders import hand_over
from ..checkpoints.writing import writing
from ..settings import LoopConfig
from ..task import Batch, Task
from .processes import from_main, only_main

LOGGER = get_logger(__name__)


def checkpoint_to_resume(task: Task[Batch], loop: LoopConfig) -> Checkpoint | None:
    """Returns the checkpoint to resume, or None; only the main process reads it.

    The other processes get its `outline`.

    Raises:
        InputError: no checkpoint can be read, or later ones exist, which the next job would take
            for checkpoints of this run.
    """
    folder = Path(loop.output_dir)

    def read() -> Checkpoint | None:
        if loop.resume is None:
            _refuse_later(folder, first=0)
            return None
        if loop.resume_dir is not None:
            with writing(folder):
                hand_over(Path(loop.resume_dir), folder)
        chosen = choose_checkpoint(folder, loop.resume, task.read_weights)
        if chosen is not None:
            if loop.resume != LATEST:
                _refuse_later(folder, first=chosen.step + 1)
            LOGGER.info("%s resumes checkpoint-%d", folder, chosen.step)
        return chosen

    checkpoint = only_main(read)
    outline = from_main(lambda: checkpoint.outline() if checkpoint else None)
    return checkpoint or outline


def _refuse_later(folder: Path, first: int) -> None:
    """Refuse sound checkpoints from step `first` on: the next job would resume them."""
    later = [path for path in list_checkpoints(folder) if step_of(path) >= first]
    sound = [path.name for path in later if defect(path) is None]
    if sound:
        value = f"{sound[-1]} of an earlier run"
        expected = "another output_dir, resume_from_checkpoint=latest, or later checkpoints moved"
        raise InputError(folder, value, expected)
