"""Compare our outputs with a fixture's: `||ours - reference|| / ||reference||`, in float64."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Shaped
from torch import Tensor

from src.runtime import InputError

from .fixture import Fixture


@dataclass(frozen=True)
class Agreement:
    """One compared quantity or named fact; it passes where `error <= tolerance` (NaN fails)."""

    name: str
    error: float
    tolerance: float
    note: str = ""

    @property
    def passed(self) -> bool:
        """Whether the error is within the tolerance."""
        return self.error <= self.tolerance

    def __str__(self) -> str:
        text = f"{self.name} {self.error:.2e} <= {self.tolerance:.2g}"
        text = text if self.passed else text.replace("<=", "NOT <=")
        return f"{text} ({self.note})" if self.note else text


def fact(name: str, holds: bool, note: str = "") -> Agreement:
    """A yes/no check: error 0 where it holds, infinite otherwise."""
    return Agreement(name, 0.0 if holds else math.inf, 0.0, "" if holds else note)


def relative_error(ours: Shaped[Tensor, "..."], reference: Shaped[Tensor, "..."]) -> float:
    """Returns `||ours - reference|| / ||reference||`; NaN or inf if only ours is not finite.

    Where the reference is not finite, ours must be the same. A zero reference allows zero only.
    """
    ours, reference = ours.detach().cpu().double(), reference.detach().cpu().double()
    finite = reference.isfinite()
    same = (ours == reference) | (ours.isnan() & reference.isnan())
    if not same[~finite].all():
        return math.inf
    error = torch.linalg.vector_norm(ours[finite] - reference[finite]).item()
    norm = torch.linalg.vector_norm(reference[finite]).item()
    if error == 0:
        return 0.0
    return error / norm if norm > 0 else math.inf


def compare(fixture: Fixture, ours: dict[str, Tensor]) -> list[Agreement]:
    """A check for every reference output (and channel group); ours may have more outputs."""
    checks = []
    for name, reference in fixture.outputs().items():
        tolerance = fixture.tolerance.of(name)
        if tolerance is None:
            raise InputError(fixture.path, f"output {name!r} without tolerance", "a number")
        if name not in ours:
            checks.append(Agreement(name, math.inf, tolerance, "missing"))
        elif ours[name].shape != reference.shape:
            note = f"shape {tuple(ours[name].shape)}, expected {tuple(reference.shape)}"
            checks.append(Agreement(name, math.inf, tolerance, note))
        else:
            checks += _compare_output(fixture, name, ours[name], tolerance)
    if not checks:
        raise InputError(fixture.path, "no outputs", "at least one tensor `outputs/...`")
    return checks


def _compare_output(
    fixture: Fixture, name: str, ours: Shaped[Tensor, "..."], tolerance: float
) -> list[Agreement]:
    """Checks of one output of the right shape: whole, by channels, or where a map says so."""
    reference = fixture.outputs()[name]
    where = fixture.config.get("compare_where", {}).get(name)
    if where is not None:
        selected = _comparison_map(fixture, where, reference)
        return [Agreement(name, relative_error(ours[selected], reference[selected]), tolerance)]
    groups = _channel_groups(fixture, reference)
    if not groups:
        return [Agreement(name, relative_error(ours, reference), tolerance)]
    return [
        Agreement(
            f"{name}[{group}]",
            relative_error(ours[..., start:end], reference[..., start:end]),
            tolerance,
        )
        for group, (start, end) in groups.items()
    ]


def _channel_groups(
    fixture: Fixture, reference: Shaped[Tensor, "..."]
) -> dict[str, tuple[int, int]]:
    """Ranges of the last dimension that are compared on their own, by name; empty for none."""
    channels = reference.shape[-1] if reference.ndim else 0
    if fixture.config.get("check_each_column"):
        names = fixture.config.get("properties", [])
        names = names if len(names) == channels else range(channels)
        return {str(name): (index, index + 1) for index, name in enumerate(names)}
    groups = fixture.config.get("channel_groups", {})
    # Other outputs of the same fixture, such as kept indices, have no such channels.
    return groups if max((end for _, end in groups.values()), default=-1) == channels else {}


def _comparison_map(fixture: Fixture, key: str, reference: Shaped[Tensor, "..."]) -> Tensor:
    """The 0/1 map stored under `key`, broadcast to the output's shape, as booleans."""
    if key not in fixture.tensors:
        raise InputError(fixture.path, f"compare_where names {key!r}", "a stored tensor")
    selected = torch.broadcast_to(fixture.tensors[key] > 0.5, reference.shape)
    if not selected.any():
        raise InputError(fixture.path, f"{key!r} is zero everywhere", "a map with some ones")
    return selected
