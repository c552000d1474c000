"""The training loop: any task, on one process or many, resumable to the exact step.

A step is one update of the weights; steps are counted over all stages of a training.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import torch
from torch import Tensor

from ...io.locks import process_lock
from ...runtime import get_logger, seed_everything
from ..checkpoints.files import Checkpoint, write_checkpoint
from ..checkpoints.folders import first_step, remove_old
from ..checkpoints.snapshot import derived_seed, gathered, load_weights
from ..checkpoints.zero import group_by_age, zero_requested
from ..ema import MovingAverage
from ..optim import OptimConfig, build_optimizer, learning_rate
from ..settings import LoopConfig
from ..stopwatch import Stopwatch
from ..task import Batch, Share, Task
from .figures import Entry, Figures
from .interruption import Interrupted, Terminations
from .journal import NonFiniteStep, record_failure
from .launch import start_launch, start_trackers
from .processes import agree, from_main
from .progress import Minutes, Span
from .report import Report
from .resume import capture, checkpoint_to_resume, restore
from .validation import validate

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["LoopConfig", "train"]

LOGGER = get_logger(__name__)
LOCK = ".training.lock"


def train(
    task: Task[Batch],
    loop: LoopConfig,
    optim: OptimConfig,
    settings: str = "",
    now: Callable[[], float] = time.monotonic,
) -> int:
    """Train until the last step and return its number; goes on from the newest checkpoint.

    Args:
        task: what is trained.
        loop: where, how long, how often.
        optim: how the weights move.
        settings: the whole configuration as YAML, to be kept beside the checkpoints.
        now: a clock in seconds, for the settings that limit the time.

    Raises:
        InputError: whatever a user gave wrongly, settings that differ between processes, a stage
            to continue that has no checkpoint, checkpoints none of which can be read, an output
            folder that cannot be written or that another training uses.
        NonFiniteStep: a loss or gradient that is not finite; the keys of its batch are saved.
        Interrupted: told to stop by SIGTERM or SIGINT, after a checkpoint.
    """
    minutes = Minutes(loop.max_minutes, loop.total_minutes, now)
    accelerator = start_launch(loop, optim)
    with ExitStack() as held:
        try:
            agree(settings)
            from_main(lambda: _hold(Path(loop.output_dir), held))
            start_trackers(accelerator, loop)
            torch.set_float32_matmul_precision("high" if loop.allow_tf32 else "highest")
            from_main(task.prepare)
            checkpoint = checkpoint_to_resume(task, loop)
            return _Training(accelerator, task, loop, optim, checkpoint, minutes).run(settings)
        finally:
            # Before the processes part: sharded networks hold on to what they speak through.
            accelerator.free_memory()
            accelerator.end_training()


def _hold(output_dir: Path, held: ExitStack) -> None:
    """Let no other training write into the folder."""
    held.enter_context(process_lock(output_dir / LOCK, "another output_dir, or to wait for it"))


class _Training(Generic[Batch]):
    """A run between its start and its end."""

    def __init__(
        self,
        accelerator: "Accelerator",
        task: Task[Batch],
        loop: LoopConfig,
        optim: OptimConfig,
        checkpoint: Checkpoint | None,
        minutes: Minutes,
    ) -> None:
        self.accelerator, self.task, self.loop, self.optim = accelerator, task, loop, optim
        self.minutes, self.time_share = minutes, 0.0
        self.terminated = self.stopping = False
        self.figures = Figures(self._mean)
        self.folder, self.device = Path(loop.output_dir), accelerator.device
        self.clock = Stopwatch(self.device, loop.timing)
        # New weights are the same everywhere.
        seed_everything(loop.seed)
        objective = task.build(self.device, self.clock)
        self.network, self.step = objective.network, 0
        if checkpoint is not None:
            load_weights(self.network, checkpoint.weights)
            self.step = checkpoint.step
        elif loop.initial_weights is not None:
            load_weights(self.network, task.read_weights(Path(loop.initial_weights)))
        optimizer = build_optimizer(self.network, optim)
        if zero_requested():
            known = checkpoint.optimizer if checkpoint is not None else {}
            group_by_age(self.network, optimizer, known)
        prepared: Any = accelerator.prepare(objective, optimizer)
        self.model, self.optimizer = prepared
        self.average = MovingAverage(self.network, loop.ema_decay) if loop.ema else None
        rank = accelerator.process_index
        # What is drawn from now on differs between processes.
        seed_everything(derived_seed(loop.seed, rank, self.step))
        position = self.step * optim.accumulation_steps
        if checkpoint is not None:
            found = restore(checkpoint, self.network, self.optimizer, self.average)
            position = position if found is None else found
        self.begun = self.reported = self.step
        self.span = Span(first_step(self.folder), self._run_end())
        # What an earlier stage took is not of this run.
        own = checkpoint is not None and self.step > self.span.first
        self.earlier = checkpoint.minutes if checkpoint is not None and own else 0.0
        self.share, self.part = Share(rank, accelerator.num_processes, position), 0
        self.batches = task.batches(self.share, self._done)

    def run(self, settings: str) -> int:
        """All steps that are left."""
        loop, last = self.loop, self.span.last
        if loop.stop_after is not None:
            last = min(last, self.step + loop.stop_after)
        report = Report(self.accelerator, loop, self.step, settings)
        self.minutes.begin_training(self.earlier)
        self._make_up(report)
        if self.step >= last or self.minutes.run_is_over:
            LOGGER.info("%s: finished at step %d", self.folder, self.step)
            return self.step
        stream = closing(iter(self.batches))
        with Terminations() as terminations, report.until(last), stream as batches:
            self._agree(terminations)
            while self.step < last and not self.stopping:
                with self.clock("step"):
                    self._update(batches)
                    due = self._look(terminations, self.step == last)
                if due:
                    report.steps(self._summary())
                if self.step == last or self.stopping or self.step % loop.checkpoint_every == 0:
                    self._save()
                # Time that is over ends a run where nobody planned it: its end counts, too.
                ended = self.stopping and not self.terminated
                if loop.validate_every and (ended or self.step % loop.validate_every == 0):
                    self._validate(report)
        if self.terminated and self.step < last:
            self._say_stopped(terminations)
        return self.step

    def _say_stopped(self, terminations: Terminations) -> None:
        """Raise `Interrupted`, with what a later job begins with."""
        told = f"told to stop ({terminations.name}) at step {self.step}"
        made = self.step > self.begun
        done = f"checkpoint-{self.step} is written" if made else "no step was made"
        raise Interrupted(f"{self.folder}: {told}; {done}", terminations.number)

    def _run_end(self) -> int:
        """The last step of the run, whichever job makes it."""
        if self.loop.stage_steps is None:
            return self.loop.max_steps
        return first_step(self.folder) + self.loop.stage_steps

    def _done(self) -> float:
        """How much of the run is done before the next batch, which is number `part` of a step."""
        parts = self.optim.accumulation_steps
        span = Span(self.span.first * parts, self.span.last * parts)
        return max(span.share(self.step * parts + self.part), self.time_share)

    def _mean(self, own: Tensor) -> Tensor:
        """The mean over the processes."""
        mean: Any = self.accelerator.reduce(own, "mean")
        return mean

    def _agree(self, terminations: Terminations) -> None:
        """Let all processes know alike how much time is gone and whether to stop."""
        told = [self.minutes.share, float(terminations.seen), float(self.minutes.over)]
        if self.accelerator.num_processes > 1:
            told = self._mean(torch.tensor(told, device=self.device)).tolist()
        self.time_share, self.terminated = told[0], told[1] > 0
        self.stopping = self.terminated or told[2] > 0

    def _look(self, terminations: Terminations, last: bool) -> bool:
        """Look at the figures since the last time, if it is time to; whether it was."""
        loop, step = self.loop, self.step
        due = last or step % loop.report_every == 0 or step % loop.checkpoint_every == 0
        due |= loop.validate_every > 0 and step % loop.validate_every == 0
        # Several processes can only agree when all of them wait for each other.
        if due or self.accelerator.num_processes == 1:
            self._agree(terminations)
            due |= self.stopping
        if due:
            self._check()
        return due

    def _update(self, batches: Iterator[Batch]) -> None:
        """One update of the weights."""
        progress = max(self.span.share(self.step + 1), self.time_share)
        self.rate = learning_rate(self.optim, self.step, progress)
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        for part in range(self.optim.accumulation_steps):
            self.part = part
            self._accumulate(batches)
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)

    def _accumulate(self, batches: Iterator[Batch]) -> None:
        """One batch forward and backward, and with the last one of a step the update."""
        accelerator = self.accelerator
        with self.clock("data"):
            batch = next(batches)
        keys = self.task.keys(batch)
        with accelerator.accumulate(self.model):
            terms: Mapping[str, Tensor] = self.model(batch)
            self._note(keys, terms)
            with self.clock("backward"):
                accelerator.backward(terms["loss"])
            with self.clock("optimizer"):
                if accelerator.sync_gradients:
                    parameters = self.model.parameters()
                    norm: Any = accelerator.clip_grad_norm_(parameters, self.optim.max_grad_norm)
                    # DeepSpeed has made the update by now, and tells the norm as a number.
                    norm = norm if isinstance(norm, Tensor) else torch.tensor(norm).to(self.device)
                    self._note(keys, {"gradient_norm": gathered(norm)})
                self.optimizer.step()
                self.optimizer.zero_grad()

    def _note(self, keys: list[str], figures: Mapping[str, Tensor]) -> None:
        """Keep figures of the coming step for the next report."""
        self.figures.add(Entry.of(self.step + 1, keys, figures))
        if self.loop.report_every == 1:
            # Stop before the weights are harmed.
            self._check()

    def _check(self) -> None:
        """Read the figures that nobody has looked at.

        Raises:
            NonFiniteStep: those of a step are not finite.
        """
        bad = self.figures.check()
        if bad is None:
            return
        terms, rank = bad.read(), self.accelerator.process_index
        path = record_failure(self.folder, bad.step, rank, bad.keys, terms)
        raise NonFiniteStep(f"step {bad.step}: {terms} with the samples {bad.keys} ({path})")

    def _summary(self) -> dict[str, float]:
        """Means over the steps since the last report."""
        steps, self.reported = self.step - self.reported, self.step
        seconds = {f"seconds_{name}": sum_ / steps for name, sum_ in self.clock.take().items()}
        number = self.loop.batch_size * self.optim.accumulation_steps * self.share.world_size
        seconds["samples_per_second"] = number / seconds["seconds_step"]
        return {"step": self.step, "lr": self.rate, **self.figures.take(), **seconds}

    def _validate(self, report: Report) -> None:
        """Figures and pictures of held-out samples, with the averaged weights if there are any."""
        self.model.eval()
        with self.average.applied() if self.average is not None else nullcontext():
            result = validate(self.task, self.model, self.share, self.device)
        self.model.train()
        report.validation(self.step, result)

    def _make_up(self, report: Report) -> None:
        """Validate at once if an earlier job of the run ended between a checkpoint and that."""
        every = self.loop.validate_every
        if not every or self.step <= self.span.first:
            return
        due = self.step % every == 0 or self.minutes.run_is_over
        if from_main(lambda: due and report.lacks_validation(self.step)):
            self._validate(report)

    def _save(self) -> None:
        """Write a checkpoint; all processes take part."""
        known = (self.batches.position, self.minutes.trained)
        checkpoint = capture(self.step, self.network, self.optimizer, self.average, *known)
        if self.accelerator.is_main_process:
            write_checkpoint(self.folder, checkpoint, self.task.write_weights)
            remove_old(self.folder, self.loop.keep_last, self.loop.keep_every, self.step)
        self.accelerator.wait_for_everyone()
