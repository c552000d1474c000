"""The settings of a run, whatever is trained."""

from dataclasses import dataclass
from typing import Literal

from ..runtime import InputError


@dataclass
class LoopConfig:
    """Where a run writes, how long it goes on, how it resumes; defaults as published.

    Attributes:
        name: of the run, for the tracker.
        output_dir: holds the checkpoints `checkpoint-<step>` and the configuration.
        logging_dir: of the tracker, below `output_dir`.
        tracker: where figures are sent besides `steps.jsonl`, such as `tensorboard` or `wandb`.
        seed: of weights and data.
        max_steps: last step, counted over all stages.
        stage_steps: last step, counted from where the stage was handed over; None for `max_steps`.
        stop_after: stop after so many steps of this job, to be resumed.
        max_minutes: stop after so long, counted from the start of this job.
        total_minutes: stop after so long a training, counted over all jobs of the run; None for
            `max_minutes`. A falling learning rate has then fallen.
        report_every: steps between looks at the figures, which are then means; a loss that is not
            a number is found then, and before every checkpoint. With 1 nothing is updated with it;
            with more, the host does not wait for the device in between.
        checkpoint_every: steps between checkpoints; the last step has one too.
        keep_every: checkpoints at multiples of this step are never removed; 0 for none.
        keep_last: how many others are kept.
        resume: `latest`, the name of a checkpoint, or None to start anew.
        resume_dir: the output folder of the stage that this one continues when `output_dir` has
            no checkpoint yet.
        initial_weights: a checkpoint that gives the weights of step 0.
        batch_size: scenes a step and process.
        workers: processes that read ahead, each.
        ema: keep a moving average of the weights.
        ema_decay: of the moving average, approached from below.
        validate_every: steps between validations on held-out scenes; 0 for none.
        mixed_precision: type of the forward pass.
        allow_tf32: let float32 matrix products round their inputs to 10 bits.
        run_name: of this run among those of its `name`, for Weights & Biases.
        group_name: of the runs that belong together, for Weights & Biases.
        timing: wait for the device after each part of a step, to know its seconds.
    """

    name: str = "cosmos3dgs"
    output_dir: str = "outputs/training/cosmos3dgs"
    logging_dir: str = "logs"
    tracker: str | None = None
    seed: int = 42
    max_steps: int = 100_000_000
    stage_steps: int | None = None
    stop_after: int | None = None
    max_minutes: float | None = None
    total_minutes: float | None = None
    report_every: int = 1
    checkpoint_every: int = 100
    keep_every: int = 2500
    keep_last: int = 5
    resume: str | None = "latest"
    resume_dir: str | None = None
    initial_weights: str | None = None
    batch_size: int = 4
    workers: int = 16
    ema: bool = False
    ema_decay: float = 0.9999
    validate_every: int = 500
    mixed_precision: Literal["no", "bf16"] = "bf16"
    allow_tf32: bool = True
    run_name: str | None = None
    group_name: str | None = None
    timing: bool = False

    def __post_init__(self) -> None:
        least = {"max_steps": 1, "checkpoint_every": 1, "keep_last": 1, "batch_size": 1}
        least |= {"keep_every": 0, "workers": 0, "validate_every": 0, "stage_steps": 0}
        least |= {"stop_after": 1, "report_every": 1}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value is not None and value < minimum:
                raise InputError(f"loop.{name}", value, f"at least {minimum}")
        for name in ("max_minutes", "total_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"loop.{name}", value, "a number above 0")
        if not 0 <= self.ema_decay < 1:
            raise InputError("loop.ema_decay", self.ema_decay, "a number in [0, 1)")
