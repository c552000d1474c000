"""The state of a training, and the checkpoint that it resumes."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...checkpoints.steps import defect, list_checkpoints, step_of
from ...runtime import InputError, get_logger, rank, seed_everything
from ..checkpoints.files import LATEST, Checkpoint, choose_checkpoint
from ..checkpoints.folders import hand_over
from ..checkpoints.snapshot import (
    copied,
    derived_seed,
    group_by_age,
    load_optimizer_state,
    load_weights,
    optimizer_state,
    random_state,
    set_random_state,
    spread,
)
from ..checkpoints.writing import writing
from ..optim import MovingAverage, OptimConfig, build_optimizer
from ..settings import LoopConfig
from ..task import Batch, Stopwatch, Task
from .launch import from_main, gather_all, only_main, zero_requested

if TYPE_CHECKING:
    from accelerate import Accelerator

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


class TrainingState:
    """Network, optimizer, moving average, step and position in the data; new or of a checkpoint."""

    def __init__(
        self,
        accelerator: "Accelerator",
        task: Task[Any],
        loop: LoopConfig,
        optim: OptimConfig,
    ) -> None:
        """Build the objective of the task and load the checkpoint to resume; a collective call.

        Raises:
            InputError: as `checkpoint_to_resume` and the task.
        """
        checkpoint = checkpoint_to_resume(task, loop)
        self.accelerator, self.task, self.loop, self.optim = accelerator, task, loop, optim
        self.device = accelerator.device
        self.clock = Stopwatch(self.device, loop.timing)
        # Of training, in earlier jobs of the run.
        self.minutes = checkpoint.minutes if checkpoint is not None else 0.0
        # New weights are the same in all processes.
        seed_everything(loop.seed)
        objective = task.build(self.device, self.clock)
        self.network, self.step = objective.network, 0
        if checkpoint is not None:
            load_weights(self.network, checkpoint.weights)
            self.step = checkpoint.step
        elif loop.initial_weights is not None:
            path = Path(loop.initial_weights)
            load_weights(self.network, only_main(lambda: task.read_weights(path)))
        optimizer = build_optimizer(self.network, optim)
        if zero_requested():
            known = checkpoint.optimizer if checkpoint is not None else {}
            group_by_age(self.network, optimizer, known)
        prepared: Any = accelerator.prepare(objective, optimizer)
        self.model, self.optimizer = prepared
        self.average = MovingAverage(self.network, loop.ema_decay) if loop.ema else None
        # From here on the processes draw different numbers.
        seed_everything(derived_seed(loop.seed, rank(), self.step))
        self.position = self.step * optim.accumulation_steps
        if checkpoint is not None:
            self._restore(checkpoint)

    def _restore(self, checkpoint: Checkpoint) -> None:
        """Restore all but the weights.

        The random generators and the position in the data stay as they are if another number of
        processes, or the published program, wrote the checkpoint.
        """
        load_optimizer_state(self.network, self.optimizer, checkpoint.optimizer)
        if self.average is not None:
            # Without an average in the checkpoint it starts from the weights.
            for name, value in (checkpoint.average or {}).items():
                self.average.values[name] = spread(value, self.average.values[name])
        processes = len(gather_all(None))
        if len(checkpoint.random) == processes:
            set_random_state(checkpoint.random[rank()], self.device)
            self.position = checkpoint.positions[rank()]
            return
        LOGGER.warning(
            "%d processes go on with what %d began: the data differ from a run without a break",
            processes,
            len(checkpoint.random),
        )

    def capture(self, position: int, minutes: float) -> Checkpoint:
        """Returns the checkpoint of this step; a collective call, see `copied` for who has it."""
        return Checkpoint(
            step=self.step,
            weights=copied(self.network.state_dict()),
            optimizer=optimizer_state(self.network, self.optimizer),
            average=copied(self.average.values) if self.average is not None else None,
            random=gather_all(random_state(self.device)),
            positions=gather_all(position),
            minutes=minutes,
        )
