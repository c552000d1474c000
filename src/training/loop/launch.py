"""The processes and devices of a launch."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ...runtime import InputError
from ..checkpoints.writing import writing
from ..optim import OptimConfig
from ..settings import LoopConfig

if TYPE_CHECKING:
    from accelerate import Accelerator
    from accelerate.utils import DeepSpeedPlugin

SOURCE = "accelerate configuration"


def start_launch(loop: LoopConfig, optim: OptimConfig) -> "Accelerator":
    """Returns accelerate's view of this launch.

    Raises `InputError` for a tracker that is not installed, for Muon in a launch that cuts up the
    weights, or as `zero_plugin`.
    """
    from accelerate import Accelerator, PartialState
    from accelerate.tracking import get_available_trackers

    available = [str(tracker) for tracker in get_available_trackers()]
    if loop.tracker is not None and loop.tracker not in available:
        raise InputError("loop.tracker", loop.tracker, f"one that is installed: {available}")
    if optim.method == "muon" and (zero_requested() or _requested("ACCELERATE_USE_FSDP")):
        expected = "adamw: FSDP and DeepSpeed cut up the matrices that Muon needs whole"
        raise InputError("optim.method", optim.method, expected)
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
    return _requested("ACCELERATE_USE_DEEPSPEED")


def _requested(name: str) -> bool:
    return os.environ.get(name, "false").lower() == "true"


def zero_plugin(loop: LoopConfig, optim: OptimConfig) -> "DeepSpeedPlugin":
    """Returns ZeRO-2 with the settings of the run; no file of DeepSpeed's is read.

    Raises `InputError` if DeepSpeed is not installed, another stage of ZeRO was asked for, or no
    launcher started the processes.
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
