"""The settings of a distillation."""

from dataclasses import dataclass, field, replace
from typing import Literal

from src.runtime import InputError
from src.training.settings import check_least

from ...diffusion.model.architecture import SamplingDefaults
from ..config import ClipTrainConfig

Method = Literal["consistency", "distribution"]


@dataclass(kw_only=True)
class ConsistencyConfig:
    """Discrete consistency distillation (Song et al. 2023), between neighbours of a level table.

    Attributes:
        levels: of the table, besides 0.
        shift: s in the levels 0.5 s u / (1 - u), for evenly spaced u.
        huber: error in latents at which the loss turns from squared to linear.
    """

    levels: int = 48
    shift: float = 5.0
    huber: float = 1e-3

    def __post_init__(self) -> None:
        check_least("consistency", self, {"levels": 2, "shift": 1, "huber": 1e-6})


@dataclass(kw_only=True)
class MatchingConfig:
    """Distribution matching (Yin et al. 2024, DMD2) without a discriminator.

    Attributes:
        period: updates of a cycle; the last one trains the student, the others the critic.
        shift: s in the noise levels 0.5 s u / (1 - u), for u drawn evenly from [0, 1).
        lowest: noise level, to which lower ones are raised.
        highest: noise level, to which higher ones are lowered.
    """

    period: int = 5
    shift: float = 5.0
    lowest: float = 0.01
    highest: float = 24.5

    def __post_init__(self) -> None:
        check_least("distribution", self, {"period": 2, "shift": 1, "lowest": 0.005})
        check_least("distribution", self, {"highest": self.lowest})


@dataclass(kw_only=True)
class DistillTrainConfig(ClipTrainConfig):
    """A distillation of a generator to a few steps without guidance.

    `loop.initial_weights` are those of the student, None for the teacher's. With `lora.rank`,
    student and critic are adapters beside the teacher's weights, otherwise whole copies.

    Attributes:
        teacher: folder of the weights that are distilled.
        levels: noise levels at which the student is called, one for each step.
        guidance: of the teacher, which the student learns.
    """

    teacher: str = "checkpoints"
    method: Method = "consistency"
    levels: list[float] = field(default_factory=lambda: [80.0, 7.44, 2.49, 0.83])
    guidance: float = 1.0
    consistency: ConsistencyConfig = field(default_factory=ConsistencyConfig)
    distribution: MatchingConfig = field(default_factory=MatchingConfig)

    def __post_init__(self) -> None:
        check_least("distill", self, {"guidance": 0})
        if not self.levels:
            raise InputError("levels", self.levels, "noise levels, one for each step")
        if self.validation.guidances:
            expected = "none: distilled weights have no guidance"
            raise InputError("validation.guidances", self.validation.guidances, expected)

    def student_sampling(self, teacher: SamplingDefaults) -> SamplingDefaults:
        """Returns how the student's clips are sampled, for a teacher of these defaults."""
        levels = tuple(self.levels)
        steps = len(levels)
        return replace(teacher, levels=levels, num_steps=steps, guidance=0.0, initial_noise=1.0)
