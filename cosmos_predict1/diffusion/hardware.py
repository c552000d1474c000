"""The device of a run, and what its networks do to fit and to be fast there."""

from dataclasses import dataclass
from typing import Literal

import torch

from src.runtime import InputError

from .memory import PLAIN, MemoryPlan
from .model.architecture import RopePrecision
from .model.kernels.rows import require_float8

Precision = Literal["bf16", "fp8"]


@dataclass(frozen=True, kw_only=True)
class HardwareConfig:
    """The device of the networks; offloaded ones stay on the CPU while they don't work.

    `memory` is a key of `memory.PLANS`, None for a choice by the free memory; `fit_memory` puts
    the plan in.
    """

    device: torch.device
    memory: str | None = None
    plan: MemoryPlan = PLAIN
    offload_transformer: bool = False
    offload_tokenizer: bool = False
    offload_text_encoder: bool = False
    disable_text_encoder: bool = False
    compile_blocks: bool = False
    rope_precision: RopePrecision | None = None
    precision: Precision = "bf16"
    context_parallel: int = 1
    guidance_parallel: bool = False

    def __post_init__(self) -> None:
        if self.context_parallel < 1:
            raise InputError("--context_parallel", self.context_parallel, "an integer >= 1")
        if self.precision == "fp8":
            if self.compile_blocks:
                raise InputError("--compile", True, "not with --precision fp8")
            require_float8(self.device)
        if self.offload_transformer and self.compile_blocks:
            expected = "not with blocks that stream: --offload_diffusion_transformer, a --memory"
            raise InputError("--compile", True, f"{expected} of 16 or less")
        if self.device.type == "cpu" and self.memory not in (None, "max"):
            raise InputError("--memory", self.memory, "a CUDA device: it is the memory of a GPU")

    @property
    def dtype(self) -> torch.dtype:
        """The type of the networks."""
        return torch.float32 if self.device.type == "cpu" else torch.bfloat16

    @property
    def processes_per_clip(self) -> int:
        """The number of processes that sample a clip together."""
        return self.context_parallel * (2 if self.guidance_parallel else 1)
