"""Fits a run into the memory of its GPU, before anything is loaded."""

from collections.abc import Sequence
from dataclasses import replace

import torch

from src.depth.backends.choice import named_depth
from src.io.depth_file import SUFFIXES
from src.runtime import get_logger

from .config import ClipSettings, SdgConfig
from .memory import CONTEXT_GIB, GIB, PLANS, RunSize, choose_plan
from .model.architecture import TransformerConfig
from .model.text import missing_constants
from .preparation import is_filmed
from .scenes.inputs import SceneInput

LOGGER = get_logger(__name__)


def fit_memory(
    config: SdgConfig,
    network: TransformerConfig,
    settings: ClipSettings,
    scenes: Sequence[SceneInput],
) -> SdgConfig:
    """Returns the run with the plan of `--memory`, or of the free memory; the log names it.

    A run on a CPU, and one with an offload flag and without `--memory`, stays as it is. A budget
    also limits torch's allocator.

    Raises:
        InputError: a budget that the machine or the plan lacks, a GPU that is too small.
    """
    hardware = config.hardware
    flags = (
        hardware.offload_transformer,
        hardware.offload_tokenizer,
        hardware.offload_text_encoder,
    )
    if hardware.device.type == "cpu" or (hardware.memory is None and any(flags)):
        return config
    free = free_gib(hardware.device)
    name = choose_plan(hardware.memory, free, run_size(config, network, settings, scenes))
    plan = PLANS[name]
    LOGGER.info("memory of the GPU: %.1f GiB free, --memory %s: %s", free, name, plan.describe())
    if hardware.memory not in (None, "max"):
        limit_memory(float(name), hardware.device)
    fitted = replace(
        hardware,
        plan=plan,
        offload_transformer=hardware.offload_transformer or plan.stream_blocks,
        offload_text_encoder=hardware.offload_text_encoder or plan.stream_text,
    )
    return replace(config, hardware=fitted)


def run_size(
    config: SdgConfig,
    network: TransformerConfig,
    settings: ClipSettings,
    scenes: Sequence[SceneInput],
) -> RunSize:
    """Returns the sizes of a run that decide on its memory."""
    negative, folder = config.sampling.negative_prompt, config.checkpoint_dir
    prompted = bool(negative) or any(scene.prompt for scene in scenes)
    encodes = network.sampling.text_encoder != "none" and not config.hardware.disable_text_encoder
    estimated = not config.moving or any(is_filmed(scene, config) for scene in scenes)
    depth = named_depth(config.inputs.depth, folder)
    return RunSize(
        network=network,
        frames=settings.piece_frames,
        height=settings.height,
        width=settings.width,
        moving=config.moving,
        text=encodes and (prompted or bool(missing_constants(folder))),
        depth=estimated and depth != "nano" and not depth.lower().endswith(SUFFIXES),
    )


def free_gib(device: torch.device) -> float:
    """Returns the free GiB of a GPU, behind the context of this process."""
    return torch.cuda.mem_get_info(device)[0] / GIB


def limit_memory(gigabytes: float, device: torch.device) -> None:
    """Limit torch's allocator, so that this process takes at most that many GiB of the GPU."""
    total = torch.cuda.mem_get_info(device)[1] / GIB
    share = min((gigabytes - CONTEXT_GIB) / total, 1.0)
    index = torch.cuda.current_device() if device.index is None else device.index
    torch.cuda.set_per_process_memory_fraction(share, index)
