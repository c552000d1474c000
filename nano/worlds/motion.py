"""Smooth paths of moving solids, in closed form; a row of numbers for each solid.

At time 0 every solid is at its place; times lie in [0, 1].
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .shapes import Triple


@dataclass(frozen=True)
class Motion:
    """A sway along `sine` and `cosine` (together an arc), hops upwards, and a turn about y.

    Offset: `sine (sin(w t + phase) - sin phase) + cosine (cos(w t + phase) - cos phase)` with
    `w = 2 pi rate`, and `hop sin^2(pi hops t)` upwards. `spin` is in radians per unit of time.
    """

    sine: Triple = (0.0, 0.0, 0.0)
    cosine: Triple = (0.0, 0.0, 0.0)
    rate: float = 0.0
    phase: float = 0.0
    hop: float = 0.0
    hops: float = 0.0
    spin: float = 0.0

    def row(self) -> list[float]:
        """The 11 numbers, in the order that `displacement` unpacks."""
        return [*self.sine, *self.cosine, self.rate, self.phase, self.hop, self.hops, self.spin]

    def offsets(self, times: Float[np.ndarray, " time"]) -> Float[np.ndarray, "time 3"]:
        """Offsets at `times` from the place at time 0."""
        rows = torch.tensor(self.row(), dtype=torch.float64).expand(len(times), 1, -1)
        return displacement(rows, torch.from_numpy(times)[:, None])[0][:, 0].numpy()


STILL = Motion()


def displacement(
    motion: Float[Tensor, "*batch solid 11"], time: Float[Tensor, "*batch 1"]
) -> tuple[Float[Tensor, "*batch solid 3"], Float[Tensor, "*batch solid"]]:
    """Offsets from the places at time 0, and turns about y in radians."""
    sine, cosine, numbers = motion.split([3, 3, 5], dim=-1)
    rate, phase, hop, hops, spin = numbers.unbind(-1)
    angle = 2 * math.pi * rate * time + phase
    along_sine, along_cosine = angle.sin() - phase.sin(), angle.cos() - phase.cos()
    offset = sine * along_sine[..., None] + cosine * along_cosine[..., None]
    lift = torch.zeros_like(offset)
    # The y axis points down.
    lift[..., 1] = -hop * (math.pi * hops * time).sin().square()
    return offset + lift, spin * time


def draw_motion(rng: np.random.Generator, reach: float, hops: bool) -> Motion:
    """A random motion of about `reach` to either side; with `hops` it may leave the floor."""
    heading, spin = rng.uniform(0, 2 * math.pi), rng.uniform(-2.5, 2.5)
    x, z = reach * math.cos(heading), reach * math.sin(heading)
    rate, phase = rng.uniform(0.4, 0.9), rng.uniform(-0.5, 0.5)
    kind = rng.integers(4 if hops else 2)
    if kind == 0:
        return Motion(sine=(x, 0, z), rate=rate, phase=phase, spin=spin)
    if kind == 1:
        arc = 0.6 * (1 if spin > 0 else -1)
        sine, cosine = (arc * x, 0, arc * z), (-0.6 * z, 0, 0.6 * x)
        return Motion(sine=sine, cosine=cosine, rate=rate, phase=phase, spin=spin)
    if kind == 2:
        return Motion(hop=rng.uniform(0.6, 1.0) * reach, hops=float(rng.integers(1, 3)), spin=spin)
    hop, count = 0.5 * reach, float(rng.integers(1, 4))
    return Motion(sine=(0.6 * x, 0, 0.6 * z), rate=rate, phase=phase, hop=hop, hops=count)
