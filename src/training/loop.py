"""The training loop: any task, on one process or many, resumable to the exact step.

A step is one update of the weights; steps are counted over all stages of a training.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NoReturn

import torch
from torch import Tensor
from tqdm import tqdm

from ..io.atomic import atomic_path
from ..runtime import InputError, get_logger, seed_everything
from .checkpoints import Checkpoint, write_checkpoint
from .ema import MovingAverage
from .folders import first_step, remove_old
from .journal import Journal, NonFiniteStep, record_failure
from .optim import OptimConfig, build_optimizer, learning_rate
from .processes import agree, from_main
from .resume import capture, find_checkpoint, restore
from .settings import LoopConfig
from .snapshot import load_weights
from .stopwatch import Stopwatch
from .task import Batch, Share, Task
from .validation import show_picture, validate, write_picture

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["LoopConfig", "train"]

LOGGER = get_logger(__name__)
CONFIG_NAME = "config.yaml"


def train(task: Task[Batch], loop: LoopConfig, optim: OptimConfig, settings: str = "") -> int:
    """Train until the last step and return its number; goes on from the newest checkpoint.

    Args:
        task: what is trained.
        loop: where, how long, how often.
        optim: how the weights move.
        settings: the whole configuration as YAML, to be kept beside the checkpoints.

    Raises:
        InputError: whatever a user gave wrongly, settings that differ between processes, a stage
            to continue that has no checkpoint, checkpoints none of which can be read.
        NonFiniteStep: a loss or gradient that is not finite; the keys of its batch are saved.
    """
    accelerator = _start(loop, optim)
    try:
        agree(settings)
        torch.set_float32_matmul_precision("high" if loop.allow_tf32 else "highest")
        from_main(task.prepare)
        checkpoint = find_checkpoint(task, loop)
        return _Training(accelerator, task, loop, optim, checkpoint).run(settings)
    finally:
        # Before the processes part: sharded networks hold on to what they speak through.
        accelerator.free_memory()
        accelerator.end_training()


def _start(loop: LoopConfig, optim: OptimConfig) -> "Accelerator":
    """The processes, devices and trackers of this launch.

    Raises:
        InputError: a tracker that is not installed, DeepSpeed.
    """
    from accelerate import Accelerator
    from accelerate.tracking import get_available_trackers

    available = [str(tracker) for tracker in get_available_trackers()]
    if loop.tracker is not None and loop.tracker not in available:
        raise InputError("loop.tracker", loop.tracker, f"one that is installed: {available}")
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision=loop.mixed_precision,
        gradient_accumulation_steps=optim.accumulation_steps,
        log_with=loop.tracker,
        project_dir=str(Path(loop.output_dir) / loop.logging_dir),
    )
    if str(accelerator.distributed_type.value) == "DEEPSPEED":
        expected = "DDP, or FSDP2 (configs/accelerate/fsdp2.yaml): its checkpoints are not ours"
        raise InputError("accelerate configuration", "DeepSpeed", expected)
    if loop.tracker is not None:
        names = {"name": loop.run_name, "group": loop.group_name}
        accelerator.init_trackers(loop.name, init_kwargs={"wandb": names})
    return accelerator


class _Training(Generic[Batch]):
    """A run between its start and its end."""

    def __init__(
        self,
        accelerator: "Accelerator",
        task: Task[Batch],
        loop: LoopConfig,
        optim: OptimConfig,
        checkpoint: Checkpoint | None,
    ) -> None:
        self.accelerator, self.task, self.loop, self.optim = accelerator, task, loop, optim
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
        prepared: Any = accelerator.prepare(objective, optimizer)
        self.model, self.optimizer = prepared
        self.average = MovingAverage(self.network, loop.ema_decay) if loop.ema else None
        rank = accelerator.process_index
        # What is drawn from now on differs between processes.
        seed_everything((loop.seed + 1 + rank + self.step) % 2**32)
        position = self.step * optim.accumulation_steps
        if checkpoint is not None:
            found = restore(checkpoint, self.network, self.optimizer, self.average)
            position = position if found is None else found
        self.share = Share(rank, accelerator.num_processes, position)
        self.batches = task.batches(self.share)

    def run(self, settings: str) -> int:
        """All steps that are left."""
        loop, main = self.loop, self.accelerator.is_main_process
        last = self._last_step()
        if main:
            with atomic_path(self.folder / CONFIG_NAME) as temporary:
                temporary.write_text(settings, encoding="utf-8")
            self.journal = Journal(self.folder, self.step)
        if self.step >= last:
            LOGGER.info("%s: finished at step %d", self.folder, self.step)
            return self.step
        with tqdm(total=last, initial=self.step, desc=loop.name, disable=not main) as bar:
            batches = iter(self.batches)
            while self.step < last:
                record = self._update(batches)
                if main:
                    self._report(record, bar)
                if self.step == last or self.step % loop.checkpoint_every == 0:
                    self._save()
                if loop.validate_every and self.step % loop.validate_every == 0:
                    self._validate()
        return self.step

    def _last_step(self) -> int:
        loop, last = self.loop, self.loop.max_steps
        if loop.stage_steps is not None:
            last = first_step(self.folder) + loop.stage_steps
        if loop.stop_after is not None:
            last = min(last, self.step + loop.stop_after)
        return last

    def _update(self, batches: Iterator[Batch]) -> dict[str, float]:
        """One update of the weights; its figures are means over processes and batches."""
        rate = learning_rate(self.optim, self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        figures: dict[str, float] = {}
        with self.clock("step"):
            for _ in range(self.optim.accumulation_steps):
                for name, value in self._accumulate(batches).items():
                    figures[name] = figures.get(name, 0.0) + value / self.optim.accumulation_steps
        self.step += 1
        if self.average is not None:
            self.average.update(self.step)
        seconds = {f"seconds_{name}": value for name, value in self.clock.take().items()}
        return {"step": self.step, "lr": rate, **figures, **seconds}

    def _accumulate(self, batches: Iterator[Batch]) -> dict[str, float]:
        """One batch forward and backward, and with the last one of a step the update."""
        accelerator = self.accelerator
        with self.clock("data"):
            batch = next(batches)
        with accelerator.accumulate(self.model):
            terms: Mapping[str, Tensor] = self.model(batch)
            own = torch.stack([value.detach().float() for value in terms.values()])
            means: Any = accelerator.reduce(own, "mean")
            figures = dict(zip(terms, means.tolist(), strict=True))
            if not math.isfinite(figures["loss"]):
                self._fail(batch, dict(zip(terms, own.tolist(), strict=True)))
            with self.clock("backward"):
                accelerator.backward(terms["loss"])
            with self.clock("optimizer"):
                if accelerator.sync_gradients:
                    parameters = self.model.parameters()
                    norm = accelerator.clip_grad_norm_(parameters, self.optim.max_grad_norm)
                    # Of the accumulated gradient: counts once for all batches of the step.
                    total = 0.0 if norm is None else float(norm)
                    figures["gradient_norm"] = total * self.optim.accumulation_steps
                    if not math.isfinite(total):
                        self._fail(batch, {"gradient_norm": total})
                self.optimizer.step()
                self.optimizer.zero_grad()
        return figures

    def _fail(self, batch: Batch, terms: Mapping[str, float]) -> NoReturn:
        """Stop before the weights are harmed."""
        keys, rank = self.task.keys(batch), self.accelerator.process_index
        path = record_failure(self.folder, self.step + 1, rank, keys, terms)
        raise NonFiniteStep(f"step {self.step + 1}: {dict(terms)} with the samples {keys} ({path})")

    def _report(self, record: dict[str, float], bar: "tqdm[Any]") -> None:
        """Send a step's figures to where they are shown and kept."""
        number = self.loop.batch_size * self.optim.accumulation_steps
        record["samples_per_second"] = number * self.share.world_size / record["seconds_step"]
        bar.update()
        bar.set_postfix(loss=f"{record['loss']:.4g}", lr=f"{record['lr']:.2g}")
        self.journal.write(record)
        self.accelerator.log(record, step=self.step)

    def _validate(self) -> None:
        """Figures and pictures of held-out samples, with the averaged weights if there are any."""
        self.model.eval()
        with self.average.applied() if self.average is not None else nullcontext():
            result = validate(self.task, self.model, self.share, self.device)
        self.model.train()
        if not self.accelerator.is_main_process or not result.count:
            return
        figures = {f"validation_{name}": value for name, value in result.figures.items()}
        LOGGER.info("step %d, %d samples: %s", self.step, result.count, figures)
        self.journal.write({"step": self.step, **figures})
        self.accelerator.log(figures, step=self.step)
        if result.picture is not None:
            write_picture(self.folder, self.step, result.picture)
            show_picture(self.accelerator.trackers, result.picture, self.step)

    def _save(self) -> None:
        """Write a checkpoint; all processes take part."""
        position = self.batches.position
        checkpoint = capture(self.step, self.network, self.optimizer, self.average, position)
        if self.accelerator.is_main_process:
            write_checkpoint(self.folder, checkpoint, self.task.write_weights)
            remove_old(self.folder, self.loop.keep_last, self.loop.keep_every)
        self.accelerator.wait_for_everyone()
