"""The updates of the weights: gradients of some batches, a clipped step, checked figures.

Figures stay on the device until they are reported.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from ..checkpoints.snapshot import gathered
from ..task import Batch
from .journal import NonFiniteStep, record_failure
from .state import TrainingState

# Figures without which an update ruins the weights.
ESSENTIAL = ("loss", "gradient_norm")


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
