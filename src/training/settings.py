"""The settings of a run, whatever is trained, and the checks that trainings share."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..checkpoints import PLACES, search_checkpoint
from ..runtime import InputError


def check_least(section: str, config: object, least: Mapping[str, float]) -> None:
    """Check that settings of a section are at least their `least` value; None passes.

    Raises `InputError` for the first setting that is smaller, or not a number.
    """
    for name, minimum in least.items():
        value = getattr(config, name)
        if value is not None and not value >= minimum:
            raise InputError(f"{section}.{name}", value, f"at least {minimum}")


def check_shares(section: str, config: object, *names: str) -> None:
    """Check that settings of a section lie in [0, 1].

    Raises `InputError` for the first setting that does not.
    """
    for name in names:
        value = getattr(config, name)
        if not 0 <= value <= 1:
            raise InputError(f"{section}.{name}", value, "a share in [0, 1]")


@dataclass(kw_only=True)
class LoopConfig:
    """Where a run writes, how long it trains, how it resumes; defaults as published.

    Attributes:
        logging_dir: Folder of the tracker, below `output_dir`.
        tracker: Receives the figures besides `steps.jsonl`, such as `tensorboard` or `wandb`.
        max_steps: Last step, counted over all stages.
        stage_steps: Steps of this stage alone; None for `max_steps`.
        stop_after: Steps of this job; a later job resumes.
        max_minutes: Minutes of this job, from its start.
        total_minutes: Minutes of training over all jobs of the run; None for `max_minutes`. A
            falling learning rate reaches its end with them.
        report_every: Steps between reports, which hold means. A loss that is not finite is found
            then and before every checkpoint: with 1, before it changes the weights; with more,
            the host does not wait for the device at each step.
        checkpoint_every: Steps between checkpoints; the last step also has one.
        keep_every: Checkpoints at multiples of this step are never removed; 0 for none.
        keep_last: Number of other checkpoints that are kept.
        resume: `latest`, the name of a checkpoint, or None to start anew.
        resume_dir: Output folder of the stage that this one continues while `output_dir` has no
            checkpoint.
        initial_weights: Checkpoint with the weights of step 0.
        batch_size: Samples of a batch in each process.
        workers: Processes that read ahead, for each training process.
        ema: Keep a moving average of the weights, whose decay rises to `ema_decay`.
        validate_every: Steps between validations on held-out samples; 0 for none.
        allow_tf32: Let float32 matrix products round their inputs to 10 bits.
        run_name, group_name: Names in Weights & Biases.
        timing: Wait for the device after each part of a step, to measure its seconds.
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
        check_least("loop", self, least | {"stop_after": 1, "report_every": 1})
        for name in ("max_minutes", "total_minutes"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"loop.{name}", value, "a number above 0")
        if not 0 <= self.ema_decay < 1:
            raise InputError("loop.ema_decay", self.ema_decay, "a number in [0, 1)")


# The loop of a task whose training was not published.
OWN_LOOP = LoopConfig(keep_every=0, keep_last=2, ema=True, validate_every=1000)


def lpips_folder(weight: float, setting: str, checkpoint_dir: Path | str) -> Path | None:
    """Returns the folder of LPIPS' weights; None if the term's `weight`, a `setting`, is 0.

    Raises `InputError` if the weights of a term that counts are missing. The term is never dropped
    in silence: the message names the command that fetches them, and the setting.
    """
    if not weight:
        return None
    folder = search_checkpoint("lpips", checkpoint_dir)
    if folder is None:
        missing = ", ".join(PLACES["lpips"][0].missing(Path(checkpoint_dir)))
        command = "python scripts/download_checkpoints.py --what lpips"
        expected = f"these weights of LPIPS (`{command}`), or {setting}=0 to train without the term"
        raise InputError(checkpoint_dir, f"{setting}={weight:g} without {missing}", expected)
    return folder
