"""The updates of the weights: gradients of some batches, a clipped step, checked figures."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic

import torch
from torch import Tensor

from ..checkpoints.transfer import gathered
from ..optim import OptimConfig
from ..settings import LoopConfig
from ..stopwatch import Stopwatch
from ..task import Batch, Task
from .figures import Entry, Figures
from .journal import NonFiniteStep, record_failure
from .state import TrainingState

if TYPE_CHECKING:
    from accelerate import Accelerator


class Updates(Generic[Batch]):
    """Updates a training state with one batch after the other and collects the figures.

    `part` is the number of the next batch within its update.
    """

    def __init__(
        self,
        accelerator: "Accelerator",
        task: Task[Batch],
        loop: LoopConfig,
        optim: OptimConfig,
        state: TrainingState,
        clock: Stopwatch,
        mean: Callable[[Tensor], Tensor],
    ) -> None:
        """Average figures over the processes with `mean`."""
        self.accelerator, self.task, self.loop, self.optim = accelerator, task, loop, optim
        self.state, self.clock, self.figures = state, clock, Figures(mean)
        self.part, self.rate, self.reported = 0, 0.0, state.step

    def make(self, batches: Iterator[Batch], rate: float) -> None:
        """Update the weights once, with the learning rate `rate`."""
        self.rate = rate
        for group in self.state.optimizer.param_groups:
            group["lr"] = rate
        for part in range(self.optim.accumulation_steps):
            self.part = part
            self._accumulate(batches)
        self.state.step += 1
        if self.state.average is not None:
            self.state.average.update(self.state.step)

    def _accumulate(self, batches: Iterator[Batch]) -> None:
        """Run a batch forward and backward; the last batch of an update makes the step."""
        accelerator, model, optimizer = self.accelerator, self.state.model, self.state.optimizer
        with self.clock("data"):
            batch = next(batches)
        keys = self.task.keys(batch)
        with accelerator.accumulate(model):
            terms: Mapping[str, Tensor] = model(batch)
            self._note(keys, terms)
            with self.clock("backward"):
                accelerator.backward(terms["loss"])
            with self.clock("optimizer"):
                if accelerator.sync_gradients:
                    most = self.optim.max_grad_norm
                    norm: Any = accelerator.clip_grad_norm_(model.parameters(), most)
                    # DeepSpeed has made the update by now, and returns the norm as a number.
                    if not isinstance(norm, Tensor):
                        norm = torch.tensor(norm).to(self.state.device)
                    self._note(keys, {"gradient_norm": gathered(norm)})
                optimizer.step()
                optimizer.zero_grad()

    def _note(self, keys: list[str], figures: Mapping[str, Tensor]) -> None:
        """Keep figures of the coming step for the next report."""
        self.figures.add(Entry.of(self.state.step + 1, keys, figures))
        if self.loop.report_every == 1:
            # Before the weights are updated with a loss that is not finite.
            self.check()

    def check(self) -> None:
        """Read the figures since the last call; waits for the device.

        Raises:
            NonFiniteStep: a loss or a gradient norm is not finite.
        """
        bad = self.figures.check()
        if bad is None:
            return
        terms, rank = bad.read(), self.accelerator.process_index
        folder = Path(self.loop.output_dir)
        path = record_failure(folder, step=bad.step, rank=rank, keys=bad.keys, terms=terms)
        raise NonFiniteStep(f"step {bad.step}: {terms} with the samples {bad.keys} ({path})")

    def summary(self) -> dict[str, float]:
        """Returns means over the steps since the last call."""
        steps, self.reported = self.state.step - self.reported, self.state.step
        seconds = {f"seconds_{name}": total / steps for name, total in self.clock.take().items()}
        batches = self.optim.accumulation_steps * self.accelerator.num_processes
        seconds["samples_per_second"] = self.loop.batch_size * batches / seconds["seconds_step"]
        return {"step": self.state.step, "lr": self.rate, **self.figures.take(), **seconds}
