"""The state of a training, the checkpoint that it resumes, and the updates of its weights.

Figures of an update stay on the device until they are reported.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from ...checkpoints.steps import defect, list_checkpoints, step_of
from ...runtime import InputError, get_logger, rank, seed_everything
from ..checkpoints.files import LATEST, Checkpoint, choose_checkpoint, hand_over
from ..checkpoints.snapshot import (
    copied,
    derived_seed,
    gathered,
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
from .exchange import from_main, gather_all, only_main
from .journal import NonFiniteStep, record_failure
from .launch import zero_requested

if TYPE_CHECKING:
    from accelerate import Accelerator

LOGGER = get_logger(__name__)
# Figures without which an update ruins the weights.
ESSENTIAL = ("loss", "gradient_norm")


def checkpoint_to_resume(task: Task[Batch], loop: LoopConfig) -> Checkpoint | None:
    """Returns the checkpoint to resume, or None; only the main process reads it.

    The other processes get its `outline`. Raises `InputError` if no checkpoint can be read, or
    later ones exist, which the next job would take for checkpoints of this run.
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

        Raises as `checkpoint_to_resume` and the task.
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
        optimizer = build_optimizer(self.network, optim, objective.outer)
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


@dataclass(frozen=True)
class Figures:
    """Figures of one step of this process, by name, and the keys of its samples."""

    step: int
    keys: list[str]
    names: tuple[str, ...]
    values: Float[Tensor, " figure"]


class Updates:
    """Updates a training state with one batch after the other and collects the figures.

    `part` is the number of the next batch within its update.
    """

    def __init__(self, state: TrainingState) -> None:
        self.state, self.part, self.rate, self.reported = state, 0, 0.0, state.step
        self._waiting: list[Figures] = []
        self._known: dict[str, list[float]] = {}

    def make(self, batches: Iterator[Batch], rate: float) -> None:
        """Update the weights once, with the learning rate `rate`."""
        self.rate = rate
        for group in self.state.optimizer.param_groups:
            group["lr"] = rate
        for part in range(self.state.optim.accumulation_steps):
            self.part = part
            self._accumulate(batches)
        self.state.step += 1
        if self.state.average is not None:
            self.state.average.update(self.state.step)

    def _accumulate(self, batches: Iterator[Batch]) -> None:
        """Run a batch forward and backward; the last batch of an update makes the step."""
        state, clock, accelerator = self.state, self.state.clock, self.state.accelerator
        with clock("data"):
            batch = next(batches)
        keys = state.task.keys(batch)
        with accelerator.accumulate(state.model):
            terms: Mapping[str, Tensor] = state.model(batch)
            self._note(keys, terms)
            with clock("backward"):
                accelerator.backward(terms["loss"])
            with clock("optimizer"):
                if accelerator.sync_gradients:
                    most = state.optim.max_grad_norm
                    norm: Any = accelerator.clip_grad_norm_(state.model.parameters(), most)
                    # DeepSpeed has made the update by now, and returns the norm as a number.
                    if not isinstance(norm, Tensor):
                        norm = torch.tensor(norm).to(state.device)
                    self._note(keys, {"gradient_norm": gathered(norm)})
                state.optimizer.step()
                state.optimizer.zero_grad()

    def _note(self, keys: list[str], figures: Mapping[str, Tensor]) -> None:
        """Keep figures of the coming step, without their graph, for the next report."""
        values = torch.stack([value.detach().float() for value in figures.values()])
        self._waiting.append(Figures(self.state.step + 1, keys, tuple(figures), values))
        if self.state.loop.report_every == 1:
            # Before the weights are updated with a loss that is not finite.
            self.check()

    def check(self) -> None:
        """Average the figures since the last call over the processes; waits for the device.

        Raises:
            NonFiniteStep: a loss or a gradient norm is not finite; in all processes, because each
                mean includes the figures of all.
        """
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        own = torch.cat([figures.values for figures in waiting])
        means: Any = self.state.accelerator.reduce(own, "mean")
        numbers, bad = iter(means.tolist()), None
        for figures in waiting:
            for name in figures.names:
                number = next(numbers)
                self._known.setdefault(name, []).append(number)
                if bad is None and name in ESSENTIAL and not math.isfinite(number):
                    bad = figures
        if bad is None:
            return
        terms = dict(zip(bad.names, bad.values.tolist(), strict=True))
        folder, rank = Path(self.state.loop.output_dir), self.state.accelerator.process_index
        path = record_failure(folder, step=bad.step, rank=rank, keys=bad.keys, terms=terms)
        raise NonFiniteStep(f"step {bad.step}: {terms} with the samples {bad.keys} ({path})")

    def summary(self) -> dict[str, float]:
        """Returns means over the steps since the last call."""
        state, known, self._known = self.state, self._known, {}
        steps, self.reported = state.step - self.reported, state.step
        figures = {name: sum(numbers) / len(numbers) for name, numbers in known.items()}
        seconds = {f"seconds_{name}": total / steps for name, total in state.clock.take().items()}
        batches = state.optim.accumulation_steps * state.accelerator.num_processes
        seconds["samples_per_second"] = state.loop.batch_size * batches / seconds["seconds_step"]
        return {"step": state.step, "lr": self.rate, **figures, **seconds}
