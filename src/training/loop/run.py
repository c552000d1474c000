"""The training loop: any task, on one process or many, resumable to the exact step.

A step is one update of the weights; steps are counted over all stages of a training.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack, closing, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ...io.locks import process_lock
from ...runtime import get_logger
from ..checkpoints.files import (
    check_stage_before,
    first_step,
    remove_old,
    write_checkpoint,
)
from ..checkpoints.snapshot import random_state, set_random_state
from ..optim import OptimConfig, learning_rate
from ..settings import LoopConfig
from ..task import Batch, Share, Task, joined
from .exchange import agree, forget_processes, from_main, gather_all
from .interruption import Interrupted, Minutes, Span, Terminations
from .journal import Report
from .launch import start_launch, start_trackers
from .state import TrainingState, Updates

LOGGER = get_logger(__name__)
LOCK = ".training.lock"


def train(
    task: Task[Batch],
    loop: LoopConfig,
    optim: OptimConfig,
    settings: str = "",
    now: Callable[[], float] = time.monotonic,
) -> int:
    """Train until the last step and return its number; resumes the newest checkpoint.

    `settings` is the whole configuration as YAML, to be kept beside the checkpoints; `now` is a
    clock in seconds, for the settings that limit the time.

    Raises:
        InputError: wrong settings, settings that differ between processes, a stage to continue
            without a checkpoint, only unreadable checkpoints, an output folder that cannot be
            written or that another training uses.
        NonFiniteStep: a loss or gradient is not finite; the keys of its batch are saved.
        Interrupted: SIGTERM or SIGINT, after a checkpoint.
    """
    minutes = Minutes(loop.max_minutes, loop.total_minutes, now)
    accelerator = start_launch(loop, optim)
    with ExitStack() as held:
        try:
            agree(settings)
            # No other training may write into the folder.
            lock = process_lock(
                Path(loop.output_dir) / LOCK, "another output_dir, or to wait for it"
            )
            from_main(lambda: held.enter_context(lock))
            start_trackers(accelerator, loop)
            torch.set_float32_matmul_precision("high" if loop.allow_tf32 else "highest")
            from_main(lambda: _prepare(task, loop))
            state = TrainingState(accelerator, task, loop, optim)
            return _Training(state, minutes).run(settings)
        finally:
            # Free sharded networks before the process group ends: they keep a reference to it.
            accelerator.free_memory()
            forget_processes()
            accelerator.end_training()


def _prepare(task: Task[Any], loop: LoopConfig) -> None:
    # Before data are made, which may take minutes.
    if loop.resume is not None and loop.resume_dir is not None:
        check_stage_before(Path(loop.resume_dir), Path(loop.output_dir))
    task.prepare()


class _Training:
    """A job: the steps from its start to its end."""

    def __init__(self, state: TrainingState, minutes: Minutes) -> None:
        self.state, self.loop, self.accelerator = state, state.loop, state.accelerator
        self.minutes, self.time_share = minutes, 0.0
        self.terminated = self.stopping = False
        self.folder, self.updates = Path(state.loop.output_dir), Updates(state)
        self.begun, first = state.step, first_step(self.folder)
        steps = self.loop.stage_steps
        self.span = Span(first, self.loop.max_steps if steps is None else first + steps)
        self.share = Share(
            self.accelerator.process_index, self.accelerator.num_processes, state.position
        )
        self.batches = state.task.batches(self.share, self._progress)

    def run(self, settings: str) -> int:
        """Make all steps that are left; returns the last."""
        loop, state, last = self.loop, self.state, self.span.last
        if loop.stop_after is not None:
            last = min(last, state.step + loop.stop_after)
        report = Report(self.accelerator, loop, step=state.step, settings=settings)
        # Minutes of an earlier stage do not count.
        self.minutes.begin_training(state.minutes if state.step > self.span.first else 0.0)
        self._make_up(report)
        if state.step >= last or self.minutes.run_is_over:
            LOGGER.info("%s: finished at step %d", self.folder, state.step)
            return state.step
        stream = closing(iter(self.batches))
        with Terminations() as terminations, report.until(last), stream as batches:
            self._agree(terminations)
            while state.step < last and not self.stopping:
                with state.clock("step"):
                    progress = max(self.span.share(state.step + 1), self.time_share)
                    self.updates.make(batches, learning_rate(state.optim, state.step, progress))
                    due = self._check(terminations, state.step == last)
                if due:
                    report.steps(self.updates.summary())
                if state.step == last or self.stopping or state.step % loop.checkpoint_every == 0:
                    self._save()
                # A run that ends by time may end at any step: that step is validated too.
                ended = self.stopping and not self.terminated
                if loop.validate_every and (ended or state.step % loop.validate_every == 0):
                    self._validate(report)
        if self.terminated and state.step < last:
            told = f"told to stop ({terminations.name}) at step {state.step}"
            made = state.step > self.begun
            done = f"checkpoint-{state.step} is written" if made else "no step was made"
            raise Interrupted(f"{self.folder}: {told}; {done}", terminations.number)
        return state.step

    def _progress(self) -> float:
        """Returns the share of the run in [0, 1] that is done before the next batch."""
        parts = self.state.optim.accumulation_steps
        span = Span(self.span.first * parts, self.span.last * parts)
        return max(span.share(self.state.step * parts + self.updates.part), self.time_share)

    def _agree(self, terminations: Terminations) -> None:
        """Give all processes the same share of the time, and the same answer whether to stop."""
        told = [self.minutes.share, float(terminations.seen), float(self.minutes.over)]
        if self.accelerator.num_processes > 1:
            means: Any = self.accelerator.reduce(torch.tensor(told).to(self.state.device), "mean")
            told = means.tolist()
        self.time_share, self.terminated = told[0], told[1] > 0
        self.stopping = self.terminated or told[2] > 0

    def _check(self, terminations: Terminations, last: bool) -> bool:
        """Check the figures if a report is due; returns whether it is."""
        loop, step = self.loop, self.state.step
        due = last or step % loop.report_every == 0 or step % loop.checkpoint_every == 0
        due |= loop.validate_every > 0 and step % loop.validate_every == 0
        # Several processes can only agree when all of them wait for each other.
        if due or self.accelerator.num_processes == 1:
            self._agree(terminations)
            due |= self.stopping
        if due:
            self.updates.check()
        return due

    def _validate(self, report: Report) -> None:
        """Validate on held-out samples, with the averaged weights if there are any.

        Figures are weighted by the samples of each process; the picture is that of this one.
        Restores the random generators, so that validations do not change the training.
        """
        state, average = self.state, self.state.average
        state.model.eval()
        generators = random_state(state.device)
        with torch.no_grad(), average.applied() if average is not None else nullcontext():
            own = state.task.validate(state.model, self.share)
        set_random_state(generators, state.device)
        state.model.train()
        parts = gather_all(replace(own, picture=None))
        report.validation(state.step, replace(joined(parts), picture=own.picture))

    def _make_up(self, report: Report) -> None:
        """Validate at once if an earlier job ended between its checkpoint and the validation."""
        every, step = self.loop.validate_every, self.state.step
        if not every or step <= self.span.first:
            return
        due = step % every == 0 or self.minutes.run_is_over
        if from_main(lambda: due and report.lacks_validation(step)):
            self._validate(report)

    def _save(self) -> None:
        """Write a checkpoint in the main process; the others wait."""
        checkpoint = self.state.capture(self.batches.position, self.minutes.trained)

        def write() -> None:
            write_checkpoint(self.folder, checkpoint, self.state.task.write_weights)
            remove_old(
                self.folder,
                keep_last=self.loop.keep_last,
                keep_every=self.loop.keep_every,
                newest=checkpoint.step,
            )

        from_main(write)
