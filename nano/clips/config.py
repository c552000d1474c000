"""The settings of the clip maker."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from src.config.loading import command_line_layer, load_config
from src.config.translation import KeyTable
from src.runtime import InputError

from ..seeds import TRAIN


@dataclass(kw_only=True)
class ClipsConfig:
    """Which worlds become clips, and how. Sizes, steps and guidance come from the weights.

    Attributes:
        output: folder of the clips, in which `static` or `dynamic` is made.
        checkpoint_dir: holds generator, tokenizer and depth network.
        dynamic: moving worlds: twelve clips of each, six of them from the reversed video.
        detail: plain worlds, or those with the detail of photographs.
        first_seed: of the first world; the others follow. None: the first for training.
        worlds: number of worlds.
        depth: depth of the warps: by the network, the world's own, or in turn.
        targets: the clips show generated frames, or the world itself.
        archives: depth maps beside the clips, for the depth loss.
        seed: of the run, as the commands' --seed.
        spread: share by which the cameras' distances vary more than in the commands.
        worlds_at_once: worlds that are sampled together.
        workers: processes that write clips; None: one a core, 0: only this one.
        max_minutes: start no more worlds after so long; None: no limit.
        timing: wait for the device after each part, to measure its seconds.
    """

    output: str = "outputs/nano/clips"
    checkpoint_dir: str = "outputs/nano"
    dynamic: bool = False
    detail: Literal["plain", "photo"] = "plain"
    first_seed: int | None = None
    worlds: int = 8
    depth: Literal["nano", "truth", "mixed"] = "mixed"
    targets: Literal["generated", "truth"] = "generated"
    archives: Literal["nano", "truth", "none"] = "nano"
    seed: int = 1
    spread: float = 0.0
    worlds_at_once: int = 8
    workers: int | None = None
    max_minutes: float | None = None
    timing: bool = False

    def __post_init__(self) -> None:
        for name, least in (("worlds", 1), ("worlds_at_once", 1), ("workers", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise InputError(name, value, f"at least {least}")
        if not 0 <= self.spread < 1:
            raise InputError("spread", self.spread, "a share in [0, 1)")
        if "truth" in (self.targets, self.archives) and self.depth != "truth":
            # Estimated depth has another unit and another lens than the world.
            expected = "depth=truth: the cameras are then those of the world"
            value = f"targets={self.targets} archives={self.archives} with depth={self.depth}"
            raise InputError("clips of worlds", value, expected)

    @property
    def seeds(self) -> range:
        """The worlds of this run."""
        first = TRAIN.of(self.dynamic).start if self.first_seed is None else self.first_seed
        return range(first, first + self.worlds)

    @property
    def processes(self) -> int:
        """The number of processes that write clips."""
        return (os.cpu_count() or 1) if self.workers is None else self.workers


def load_clips_config(arguments: Sequence[str]) -> ClipsConfig:
    """Reads `KEY=VALUE` arguments; raises as `load_config`."""
    return load_config(ClipsConfig, [command_line_layer(arguments)], KeyTable({}))
