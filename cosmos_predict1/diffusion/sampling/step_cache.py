"""Networks around the generator's one, for the sampling of one clip: counting, and a step cache.

Both have the interface `Network` of the denoiser.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ..conditioning.latents import Conditions
from ..model.denoiser import Network, c_noise


class CountedNetwork:
    """A network that counts its forwards."""

    def __init__(self, network: Network) -> None:
        self.network, self.forwards = network, 0
        # Distilled weights name their levels there.
        self.config = getattr(network, "config", None)

    def prepare(self, conditions: Conditions) -> Any:
        """Prepares conditions as the network does."""
        return self.network.prepare(conditions)

    def __call__(self, x: Tensor, c_noise: Tensor, conditions: Any) -> Tensor:
        """The network's output."""
        self.forwards += 1
        return self.network(x, c_noise, conditions)


@dataclass
class _Branch:
    """The last input and output of one branch of the guidance.

    `rate` is the change of the output for a change of the input, both by norm, None before the
    second forward. `drift` is the estimated relative change since the last forward.
    """

    x: Tensor
    output: Tensor
    rate: float | None = None
    drift: float = 0.0


class StepCache:
    """A network whose output is reused while its estimated relative change is below `threshold`.

    The test is that of EasyCache (Zhou et al. 2025): it needs nothing but inputs and outputs. Each
    branch of the guidance, told apart by its conditions, has its own state; a batch has one. The
    first two forwards of a branch, and those at the noise levels `always`, are never skipped.
    """

    def __init__(self, network: Network, threshold: float, always: Sequence[float]) -> None:
        self.network, self.threshold = network, threshold
        self.always = [c_noise(sigma) for sigma in always]
        self._branches: dict[int, tuple[Any, _Branch]] = {}

    def prepare(self, conditions: Conditions) -> Any:
        """Prepares conditions as the network does."""
        return self.network.prepare(conditions)

    def __call__(self, x: Tensor, c_noise: Tensor, conditions: Any) -> Tensor:
        """The network's output, or that of the last forward with these conditions."""
        # Kept beside the state, so that no other object can have the same id.
        _, branch = self._branches.get(id(conditions), (None, None))
        if branch is not None and self._skips(branch, x, c_noise[0].item()):
            return branch.output
        output = self.network(x, c_noise, conditions)
        rate = None
        if branch is not None:
            change = (output.float() - branch.output.float()).norm() / output.float().norm()
            rate = (change / (x - branch.x).norm()).item()
        self._branches[id(conditions)] = conditions, _Branch(x, output, rate)
        return output

    def _skips(self, branch: _Branch, x: Tensor, level: float) -> bool:
        """Whether the output of `branch` can stand for that at `x`; follows the input."""
        if branch.rate is None or any(
            math.isclose(level, end, abs_tol=1e-5) for end in self.always
        ):
            return False
        drift = branch.drift + branch.rate * (x - branch.x).norm().item()
        if drift >= self.threshold:
            return False
        branch.x, branch.drift = x, drift
        return True
