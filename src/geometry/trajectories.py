"""Camera trajectories: the published paths, and the resampling of a user's path.

Notation: `p` is the offset of a frame from its source camera; `c` is the centre depth, the depth at
the image centre, and the unit of distances. Look-at targets lie at `(0, 0, c)` in front of the
source camera. Poses are OpenCV.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ..runtime import InputError
from .cameras import FARTHEST, compose, invert_rigid, turn_fraction


@dataclass(frozen=True)
class TrajectorySpec:
    """A published trajectory; `distance` is in units of the centre depth.

    Only spirals use the radius factors (times `distance`) and `num_circles`.
    """

    name: str
    distance: float
    rotation: str = "center_facing"
    radius_x_factor: float = 1.0
    radius_y_factor: float = 1.0
    num_circles: int = 1


@dataclass(frozen=True)
class TrajectoryRange:
    """One of the six trajectories of a scene: its distance is drawn from `[lowest, highest]`."""

    name: str
    lowest: float
    highest: float

    def spec(
        self, position: float, factor: float = 1.0, rotation: str = "center_facing"
    ) -> TrajectorySpec:
        """The trajectory at `position` in [0, 1] of the range, its distance times `factor`."""
        assert 0 <= position <= 1, f"position {position} outside [0, 1]"
        return TrajectorySpec(
            name=self.name,
            distance=(self.lowest + (self.highest - self.lowest) * position) * factor,
            rotation=rotation,
            radius_x_factor=0.15,
            radius_y_factor=0.10,
            num_circles=2,
        )


def _line(spec: TrajectorySpec, num_frames: int, axis: int, sign: int) -> Float[Tensor, "frame 3"]:
    offsets = torch.zeros(num_frames, 3, dtype=torch.float64)
    # Divided by n, not n - 1: the last frame stays one step short of the full distance.
    steps = torch.arange(num_frames, dtype=torch.float64) / num_frames
    offsets[:, axis] = sign * spec.distance * steps
    return offsets


def _spiral(spec: TrajectorySpec, num_frames: int, sign: int) -> Float[Tensor, "frame 3"]:
    # Divided by n - 1: the last frame closes the circle.
    steps = torch.arange(num_frames, dtype=torch.float64) / max(num_frames - 1, 1)
    angle = 2 * math.pi * spec.num_circles * steps
    x = sign * spec.radius_x_factor * (torch.cos(angle) - 1)
    y = spec.radius_y_factor * torch.sin(angle)
    return spec.distance * torch.stack((x, y, torch.zeros_like(x)), dim=-1)


# Offsets p / c of all frames, by published name.
TRAJECTORIES: dict[str, Callable[[TrajectorySpec, int], Tensor]] = {
    "left": partial(_line, axis=0, sign=-1),
    "right": partial(_line, axis=0, sign=1),
    "up": partial(_line, axis=1, sign=-1),
    "down": partial(_line, axis=1, sign=1),
    "zoom_in": partial(_line, axis=2, sign=1),
    "zoom_out": partial(_line, axis=2, sign=-1),
    "clockwise": partial(_spiral, sign=1),
    "counterclockwise": partial(_spiral, sign=-1),
}

# Motion of the look-at target, as a multiple of the offset p.
ROTATIONS: dict[str, float] = {"center_facing": 0.0, "no_rotation": 1.0, "trajectory_aligned": 2.0}

# The six trajectories of a scene; the position in the table is the number of the output folder.
MULTI_TRAJECTORY: tuple[TrajectoryRange, ...] = (
    TrajectoryRange("left", 0.2, 0.3),
    TrajectoryRange("right", 0.2, 0.3),
    TrajectoryRange("up", 0.1, 0.2),
    TrajectoryRange("zoom_out", 0.3, 0.4),
    TrajectoryRange("zoom_in", 0.3, 0.4),
    TrajectoryRange("clockwise", 0.4, 0.6),
)


def make_trajectory(
    spec: TrajectorySpec,
    num_frames: int,
    center_depth: float = 1.0,
    source_w2c: Float[Tensor, "4 4"] | Float[Tensor, "frame 4 4"] | None = None,
) -> Float[Tensor, "frame 4 4"]:
    """World-to-camera poses `L_i w2c_source` of a published trajectory (float32).

    `source_w2c` is the start: one pose, one for each frame of a moving source camera, or the
    identity (None). `center_depth` is in world units; translations scale with it. Raises
    `InputError` for unknown names; a distance, radius or depth that yields no finite pose.
    """
    _check(spec, num_frames, center_depth)
    offsets = center_depth * TRAJECTORIES[spec.name](spec, num_frames)
    target = offsets.new_tensor([0, 0, center_depth]) + ROTATIONS[spec.rotation] * offsets
    local = _look_at(offsets, target)
    if not torch.isfinite(local).all():
        raise InputError("trajectory", spec, "a camera that stays away from its look-at target")
    if source_w2c is None:
        return local.float()
    assert source_w2c.shape[:-2] in ((), (num_frames,)), f"source poses {source_w2c.shape}"
    return compose(local.to(source_w2c.device), source_w2c.double()).float()


def _check(spec: TrajectorySpec, num_frames: int, center_depth: float) -> None:
    for name, table in ((spec.name, TRAJECTORIES), (spec.rotation, ROTATIONS)):
        if name not in table:
            raise InputError("trajectory", repr(name), f"one of {', '.join(table)}")
    numbers = (spec.distance, spec.radius_x_factor, spec.radius_y_factor, spec.num_circles)
    if not all(-FARTHEST <= number <= FARTHEST for number in numbers):
        raise InputError("trajectory", str(spec)[:300], f"finite numbers up to {FARTHEST:g}")
    if not (math.isfinite(center_depth) and center_depth > 0):
        raise InputError("centre depth", center_depth, "a finite number > 0")
    if num_frames < 1:
        raise InputError("frames of a trajectory", num_frames, "at least 1")


def _look_at(
    offset: Float[Tensor, "frame 3"], target: Float[Tensor, "frame 3"]
) -> Float[Tensor, "frame 4 4"]:
    """World-to-camera matrices `[R | -p]` that face `target` with the y axis down; NaN at p = t."""
    forward = target - offset
    forward = forward / torch.linalg.vector_norm(forward, dim=-1, keepdim=True)
    down = torch.tensor([0, 1, 0], dtype=offset.dtype).expand_as(offset)
    right = torch.linalg.cross(down, forward)
    right = right / torch.linalg.vector_norm(right, dim=-1, keepdim=True)
    rows = (right, torch.linalg.cross(forward, right), forward)
    pose = torch.eye(4, dtype=offset.dtype).repeat(len(offset), 1, 1)
    pose[:, :3, :3] = torch.stack(rows, dim=-2)
    # The published poses, which the generator was driven with, carry -p, not -R p: the true camera
    # centre is R^T p.
    pose[:, :3, 3] = -offset
    return pose


def resample_poses(
    c2w: Float[Tensor, "n 4 4"], num_frames: int, times: Float[Tensor, " n"] | None = None
) -> Float[Tensor, "{num_frames} 4 4"]:
    """Poses at `num_frames` equal steps from the first given one to the last, both exact.

    Rotations are interpolated spherically along the shortest arc, camera centres linearly. The
    given poses are equally spaced, or at `times` (strictly increasing). A single pose is repeated.
    """
    first, second, fraction = _neighbours(c2w, num_frames, times)
    between = compose(first[:, :3, :3].mT, second[:, :3, :3])
    poses = first.clone()
    poses[:, :3, :3] = compose(first[:, :3, :3], turn_fraction(between, fraction))
    poses[:, :3, 3] = torch.lerp(first[:, :3, 3], second[:, :3, 3], fraction[:, None])
    # A step that meets a given pose returns that pose unchanged.
    poses = torch.where((fraction == 0)[:, None, None], first, poses)
    poses = torch.where((fraction == 1)[:, None, None], second, poses)
    return poses.to(c2w.dtype)


def resample_intrinsics(
    intrinsics: Float[Tensor, "n 4"], num_frames: int, times: Float[Tensor, " n"] | None = None
) -> Float[Tensor, "{num_frames} 4"]:
    """Intrinsics at the steps of `resample_poses`, interpolated linearly."""
    first, second, fraction = _neighbours(intrinsics, num_frames, times)
    return torch.lerp(first, second, fraction[:, None]).to(intrinsics.dtype)


def _neighbours(
    values: Float[Tensor, " n *shape"], num_frames: int, times: Float[Tensor, " n"] | None
) -> tuple[Float[Tensor, " frame *shape"], Float[Tensor, " frame *shape"], Float[Tensor, " frame"]]:
    """The given values before and after each step, and the step's fraction between them."""
    count = len(values)
    assert count > 0 and num_frames > 0, f"{count} frames cannot become {num_frames}"
    last = max(count - 2, 0)
    if times is None or count == 1:
        steps = torch.arange(num_frames, dtype=torch.float64) * (count - 1)
        steps = steps / max(num_frames - 1, 1)
        lower = steps.floor().long().clamp_max(last)
        fraction = steps - lower
    else:
        knots = times.double().cpu()
        assert (knots.diff() > 0).all(), f"strictly increasing times expected, got {times.tolist()}"
        steps = torch.linspace(0, 1, num_frames, dtype=torch.float64)
        steps = torch.lerp(knots[0], knots[-1], steps)
        lower = (torch.searchsorted(knots, steps, right=True) - 1).clamp(0, last)
        fraction = ((steps - knots[lower]) / (knots[lower + 1] - knots[lower])).clamp(0, 1)
    lower = lower.to(values.device)
    upper = (lower + 1).clamp_max(count - 1)
    return values[lower].double(), values[upper].double(), fraction.to(values.device)


def poses_relative_to_first(c2w: Float[Tensor, "n 4 4"]) -> Float[Tensor, "n 4 4"]:
    """Camera-to-world poses in the axes of the first camera, whose pose is exactly the identity."""
    poses = c2w.double()
    relative = compose(invert_rigid(poses[0]), poses)
    relative[0] = torch.eye(4, dtype=relative.dtype, device=relative.device)
    return relative.to(c2w.dtype)
