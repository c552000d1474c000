"""The state of a training: network, optimizer, moving average, step and position in the data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...runtime import get_logger, rank, seed_everything
from ..checkpoints.files import Checkpoint
from ..checkpoints.snapshot import (
    derived_seed,
    load_optimizer_state,
    load_weights,
    optimizer_state,
    random_state,
    set_random_state,
)
from ..checkpoints.transfer import copied, spread
from ..checkpoints.zero import group_by_age, zero_requested
from ..ema import MovingAverage
from ..optim import OptimConfig, build_optimizer
from ..settings import LoopConfig
from ..stopwatch import Stopwatch
from ..task import Batch, Task
from .processes import gather_all, only_main

if TYPE_CHECKING:
    from accelerate import Accelerator

LOGGER = get_logger(__name__)


class TrainingState:
    """The state of a new training, or that of a checkpoint."""

    def __init__(
        self,
        accelerator: "Accelerator",
        task: Task[Batch],
        loop: LoopConfig,
        optim: OptimConfig,
        checkpoint: Checkpoint | None,
        clock: Stopwatch,
    ) -> None:
        """Build the objective of the task and load the checkpoint; a collective call."""
        self.device = accelerator.device
        # New weights are the same in all processes.
        seed_everything(loop.seed)
        objective = task.build(self.device, clock)
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
