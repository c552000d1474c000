"""The rungs of `--speed`, the switches that they set, and what both become for a clip."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from src.runtime import InputError

from .levels import SIGMA_MAX, Solver, noise_levels, stopped

Speed = Literal["exact", "same", "fast"]
# The published number of steps; weights that need no more than FEW_STEPS have no spare ones.
FULL_RUN, FEW_STEPS = 35, 8
# Runs of fewer levels have first-order steps alone: the first and the last.
FIRST_ORDER = 3
# The first two steps, which a step cache needs, and the last.
NEVER_SKIPPED = 3


@dataclass(frozen=True, kw_only=True)
class Shortcuts:
    """The switches that save forwards of the network; the defaults save none.

    Attributes:
        guidance_interval: the noise levels between which both branches of the guidance are
            evaluated, and elsewhere the conditional one alone; None: everywhere.
        sigma_stop: levels below it are left out.
        solver: see `sample`.
        step_cache: threshold of `StepCache`; 0: no cache.
    """

    guidance_interval: tuple[float, float] | None = None
    sigma_stop: float = 0.0
    solver: Solver = "euler"
    step_cache: float = 0.0

    @property
    def record(self) -> dict[str, object]:
        """The switches that save something, as JSON values."""
        defaults = asdict(Shortcuts())
        found = {name: value for name, value in asdict(self).items() if value != defaults[name]}
        if self.guidance_interval is not None:
            found["guidance_interval"] = list(self.guidance_interval)
        return found

    def levels(self, num_steps: int) -> Float[Tensor, " level"]:
        """Returns the noise levels of a run, the last 0."""
        return stopped(noise_levels(num_steps), self.sigma_stop)

    def guided_levels(self, num_steps: int) -> list[float]:
        """Returns the noise levels at which both branches are evaluated."""
        low, high = self.guidance_interval or (0.0, math.inf)
        return [level for level in self.levels(num_steps).tolist()[:-1] if low <= level <= high]


@dataclass(frozen=True, kw_only=True)
class Rung:
    """A composition of the switches, with the number of steps that replace a full run of 35."""

    num_steps: int
    shortcuts: Shortcuts

    def steps(self, full: int) -> int:
        """Returns the number of steps for weights whose full run has `full` of them."""
        return full if full <= FEW_STEPS else max(round(self.num_steps / FULL_RUN * full), 1)


_SAME = Shortcuts(guidance_interval=(0.3, SIGMA_MAX), sigma_stop=0.02, solver="multistep")
RUNGS: Mapping[Speed, Rung] = {
    "exact": Rung(num_steps=FULL_RUN, shortcuts=Shortcuts()),
    "same": Rung(num_steps=20, shortcuts=_SAME),
    "fast": Rung(num_steps=14, shortcuts=replace(_SAME, step_cache=0.15)),
}


@dataclass(frozen=True, kw_only=True)
class SpeedConfig:
    """The rung, and the switches that were given one by one; None stands for that of the rung."""

    speed: Speed = "exact"
    guidance_interval: tuple[float, float] | None = None
    sigma_stop: float | None = None
    solver: Solver | None = None
    step_cache: float | None = None

    def __post_init__(self) -> None:
        if self.guidance_interval is not None:
            low, high = self.guidance_interval
            if not 0 <= low < high:
                expected = "two noise levels LO < HI from 0 on"
                raise InputError("--guidance_interval", f"{low:g} {high:g}", expected)
        if self.sigma_stop is not None and not 0 <= self.sigma_stop < SIGMA_MAX:
            expected = f"a noise level in [0, {SIGMA_MAX:g})"
            raise InputError("--sigma_stop", self.sigma_stop, expected)
        if self.step_cache is not None and not 0 <= self.step_cache < math.inf:
            raise InputError("--step_cache", self.step_cache, "a number >= 0")

    @property
    def given(self) -> dict[str, Any]:
        """The switches that were given, by name."""
        names = ("guidance_interval", "sigma_stop", "solver", "step_cache")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def refuse_switches(self, expected: str) -> None:
        """Raise `InputError` with these words if a switch was given."""
        for name, value in self.given.items():
            raise InputError(f"--{name}", value, expected)

    def choose(self, full: int, num_steps: int | None, guidance: float) -> tuple[int, Shortcuts]:
        """Returns the number of steps and the shortcuts of a clip.

        `full` is the number of steps of the weights' own run, `num_steps` that of the flag.

        Raises:
            InputError: a switch without an effect on this run.
        """
        rung = RUNGS[self.speed]
        steps = rung.steps(full) if num_steps is None else num_steps
        chosen = replace(rung.shortcuts, **self.given)
        self._check(chosen, steps, guidance)
        count = len(chosen.levels(steps)) - 1
        interval = chosen.guidance_interval
        if interval is not None:
            everywhere = len(chosen.guided_levels(steps)) == count
            ends = interval[0], min(interval[1], SIGMA_MAX)
            interval = None if guidance == 0 or everywhere else ends
        # Switches of a rung without an effect on this run don't count.
        return steps, replace(
            chosen,
            guidance_interval=interval,
            solver="euler" if count < FIRST_ORDER else chosen.solver,
            step_cache=0.0 if count <= NEVER_SKIPPED else chosen.step_cache,
        )

    def _check(self, chosen: Shortcuts, steps: int, guidance: float) -> None:
        """Raise `InputError` for a given switch that cannot have an effect."""
        count = len(chosen.levels(steps)) - 1
        if self.guidance_interval is not None:
            value = "{:g} {:g}".format(*self.guidance_interval)
            if guidance == 0:
                raise InputError("--guidance_interval", value, "not with a guidance of 0")
            if not chosen.guided_levels(steps):
                expected = f"one of the {count} noise levels inside; --guidance 0 has no guidance"
                raise InputError("--guidance_interval", value, expected)
        if self.solver == "multistep" and count < FIRST_ORDER:
            raise InputError("--solver", self.solver, f"euler for a run of {count} levels")
        if self.step_cache and count <= NEVER_SKIPPED:
            expected = f"0 for a run of {count} levels: the first two and the last are computed"
            raise InputError("--step_cache", self.step_cache, expected)


EXACT = SpeedConfig()
