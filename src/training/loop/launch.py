"""The processes and devices of a launch."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ...runtime import InputError
from ..checkpoints.writing import writing
from ..checkpoints.zero import zero_plugin, zero_requested
from ..optim import OptimConfig
from ..settings import LoopConfig

if TYPE_CHECKING:
    from accelerate import Accelerator


def start_launch(loop: LoopConfig, optim: OptimConfig) -> "Accelerator":
    """Returns accelerate's view of this launch.

    Raises:
        InputError: a tracker that is not installed, or as `zero_plugin`.
    """
    from accelerate import Accelerator, PartialState
    from accelerate.tracking import get_available_trackers

    available = [str(tracker) for tracker in get_available_trackers()]
    if loop.tracker is not None and loop.tracker not in available:
        raise InputError("loop.tracker", loop.tracker, f"one that is installed: {available}")
    zero = zero_plugin(loop, optim) if zero_requested() else None
    on_cpu = not torch.cuda.is_available()
    if zero is not None and on_cpu:
        # Accelerate refuses DeepSpeed together with `cpu=True`.
        PartialState(cpu=True)
    return Accelerator(
        cpu=on_cpu and zero is None,
        # With DeepSpeed the precision is part of its own settings.
        mixed_precision=loop.mixed_precision if zero is None else "no",
        deepspeed_plugin=zero,
        gradient_accumulation_steps=optim.accumulation_steps,
        log_with=loop.tracker,
        project_dir=str(Path(loop.output_dir) / loop.logging_dir),
    )


def start_trackers(accelerator: "Accelerator", loop: LoopConfig) -> None:
    """Start the tracker; raises `InputError` if its folder cannot be written."""
    if loop.tracker is not None:
        names = {"name": loop.run_name, "group": loop.group_name}
        with writing(Path(loop.output_dir) / loop.logging_dir):
            accelerator.init_trackers(loop.name, init_kwargs={"wandb": names})
