"""The processes and devices of a launch, and the exchange of Python values between them."""

import difflib
import os
from collections.abc import Callable
from datetime import timedelta
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist

from ...runtime import InputError
from ..checkpoints.writing import writing
from ..optim import OptimConfig
from ..settings import LoopConfig

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.utils import DeepSpeedPlugin

SOURCE = "accelerate configuration"
T = TypeVar("T")
# One process may read or write a large file, or make clips, while the others wait.
PATIENCE = timedelta(days=7)


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


def zero_requested() -> bool:
    """Whether `accelerate launch` asks for DeepSpeed."""
    return os.environ.get("ACCELERATE_USE_DEEPSPEED", "false").lower() == "true"


def zero_plugin(loop: LoopConfig, optim: OptimConfig) -> "DeepSpeedPlugin":
    """Returns ZeRO-2 with the settings of the run; no file of DeepSpeed's is read.

    Raises:
        InputError: DeepSpeed is not installed, another stage of ZeRO was asked for, or no launcher
            started the processes.
    """
    if find_spec("deepspeed") is None:
        expected = "`pip install deepspeed`, or another launch of configs/accelerate"
        raise InputError(SOURCE, "DeepSpeed, which is not installed", expected)
    wanted = {
        "ACCELERATE_DEEPSPEED_ZERO_STAGE": ("2", "zero_stage: 2 (configs/accelerate)"),
        "ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE": ("none", "optimizer states on the GPU"),
        "ACCELERATE_DEEPSPEED_OFFLOAD_PARAM_DEVICE": ("none", "weights on the GPU"),
        "ACCELERATE_DEEPSPEED_CONFIG_FILE": ("none", "no file: `train.py` has these settings"),
    }
    for name, (only, expected) in wanted.items():
        value = os.environ.get(name, only)
        if value != only:
            raise InputError(f"{SOURCE}, {name}", value, expected)
    if "LOCAL_RANK" not in os.environ:
        raise InputError(SOURCE, "DeepSpeed without a launcher", "`accelerate launch train.py ...`")
    from accelerate.utils import DeepSpeedPlugin, compare_versions

    if not compare_versions("deepspeed", ">=", "0.19"):
        raise InputError(SOURCE, "an old DeepSpeed", "version 0.19 or later")
    plugin = DeepSpeedPlugin(
        gradient_accumulation_steps=optim.accumulation_steps,
        gradient_clipping=optim.max_grad_norm,
        zero_stage=2,
    )
    settings: dict[str, Any] = plugin.deepspeed_config
    settings["train_micro_batch_size_per_gpu"] = loop.batch_size
    if loop.mixed_precision == "bf16":
        # DeepSpeed's own bf16 would round the weights and the moving average. An empty list of
        # modules keeps the sum of the gradients in float32.
        settings["torch_autocast"] = {
            "enabled": True,
            "dtype": "bfloat16",
            "lower_precision_safe_modules": [],
        }
    return plugin


@lru_cache(maxsize=1)
def _waiting_group(launch: dist.ProcessGroup) -> dist.ProcessGroup:
    """Returns a process group that waits for days; that of the launch gives up after minutes."""
    group = dist.new_group(backend="gloo", timeout=PATIENCE)
    assert isinstance(group, dist.ProcessGroup), f"a launch without this process: {group}"
    return group


def _group() -> dist.ProcessGroup:
    launch = dist.group.WORLD
    assert launch is not None, "no process group"
    return _waiting_group(launch)


def forget_processes() -> None:
    """Drop the reference to the process group, which is about to end."""
    _waiting_group.cache_clear()


def gather_all(value: T) -> list[T]:
    """Returns the values of all processes, by rank."""
    if not dist.is_initialized():
        return [value]
    values: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(values, value, group=_group())
    return values


def from_main(function: Callable[[], T]) -> T:
    """Call `function` in the main process; returns its value in all processes, which wait for it.

    Raises:
        InputError: in all processes, if the main one raises it.
    """
    if not dist.is_initialized():
        return function()
    outcome: list[Any] = [None]
    if dist.get_rank() == 0:
        try:
            outcome = [function()]
        except InputError as error:
            # As text: a source or value need not be serialisable.
            outcome = [InputError(str(error.source), str(error.value), error.expected)]
    dist.broadcast_object_list(outcome, group=_group())
    if isinstance(outcome[0], InputError):
        raise outcome[0]
    return outcome[0]


def only_main(function: Callable[[], T]) -> T | None:
    """As `from_main`, but the value stays in the main process; the others get None."""
    own: list[T] = []
    from_main(lambda: own.append(function()))
    return own[0] if own else None


def agree(settings: str) -> None:
    """Check that all processes have the same settings.

    Raises:
        InputError: in all processes, with the first lines that differ.
    """
    first, *others = gather_all(settings)
    for rank, other in enumerate(others, start=1):
        if other != first:
            lines = difflib.ndiff(first.splitlines(), other.splitlines())
            changed = [line for line in lines if line[0] in "+-"]
            found = "; ".join(changed[:8])
            raise InputError(f"configuration of process {rank}", found, "that of process 0")
