"""The processes of a launch, as accelerate sees them."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ..runtime import InputError
from .optim import OptimConfig
from .settings import LoopConfig

if TYPE_CHECKING:
    from accelerate import Accelerator


def start_launch(loop: LoopConfig, optim: OptimConfig) -> "Accelerator":
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
