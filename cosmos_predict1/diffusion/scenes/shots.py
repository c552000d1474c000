"""The shots of a scene: its trajectories, their random draws, their cameras.

A shot is one trajectory of one scene. Its draw comes from a hash of the run's seed, the scene's key
and the shot's folder, so it is the same in any order of shots and on any machine.
"""

import hashlib
import random
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from src.geometry.cameras import Cameras, compose, invert_rigid
from src.geometry.trajectories import (
    MULTI_TRAJECTORY,
    TrajectoryRange,
    TrajectorySpec,
    make_trajectory,
)
from src.io.cameras.file import trajectory_from_file
from src.io.json_object import is_number
from src.runtime import InputError

from ..config import CameraConfig

# Above the number of frames of any clip.
MOST_CIRCLES = 1000


@dataclass(frozen=True)
class Draw:
    """The seed of a shot's noise, and the position in [0, 1) of its distance in the range."""

    seed: int
    position: float


@dataclass(frozen=True)
class Shot:
    """One trajectory of a scene; its clips lie in `folder` (empty: the root of the output).

    `path` is a published trajectory, a range of them, or a file of cameras. A `backwards` shot is
    made from the input played backwards.
    """

    folder: str
    path: TrajectorySpec | TrajectoryRange | Path
    backwards: bool = False


@dataclass(frozen=True)
class Rig:
    """The cameras of all frames, and for a source the depth about which trajectories turn.

    Poses are world-to-camera: the 3D cache shows a source frame without holes where a target has
    the source's pose bit for bit, and an inverse of an inverse has not.
    """

    intrinsics: Float[Tensor, "frame 4"]
    w2c: Float[Tensor, "frame 4 4"]
    center_depth: float = 1.0

    def __len__(self) -> int:
        return len(self.w2c)

    def __getitem__(self, frames: slice) -> "Rig":
        """The cameras of some frames."""
        return replace(self, intrinsics=self.intrinsics[frames], w2c=self.w2c[frames])

    def backwards(self) -> "Rig":
        """The same, played backwards."""
        return replace(self, intrinsics=self.intrinsics.flip(0), w2c=self.w2c.flip(0))

    def cameras(self, height: int, width: int) -> Cameras:
        """The cameras as clips store them, on the CPU."""
        # The exact inverse, because rotations of a user's file are orthonormal to four decimals.
        c2w = torch.linalg.inv(self.w2c.double()).float()
        return Cameras(c2w.cpu(), self.intrinsics.cpu(), width, height)


def draw(seed: int, key: str, folder: str) -> Draw:
    """Returns the draw of a scene's shot in the run with `seed`."""
    digest = hashlib.sha256(f"{seed}\n{key}\n{folder}".encode()).digest()
    # Numpy's seeds have 32 bits, floats in [0, 1) have 53.
    noise = int.from_bytes(digest[:4], "big")
    return Draw(noise, (int.from_bytes(digest[8:16], "big") >> 11) / 2**53)


def published_draw(seed: int) -> Draw:
    """Returns the published draw of every shot: the run's seed, and Python's first number of it.

    The published program draws the first trajectory's distance before it seeds anything, so that
    distance differs each time; here it has the number of the others.
    """
    return Draw(seed, random.Random(seed).random())


def list_shots(config: CameraConfig) -> list[Shot]:
    """Returns the shots of every scene: six, twelve with reversed ones, or one.

    Raises:
        InputError: a distance or a shape that yields no cameras, an unreadable file.
    """
    if config.file is not None:
        # Read for its errors alone; any size does.
        trajectory_from_file(config.file, 2, 2, 2)
        return [Shot("", config.file)]
    if not config.multi:
        spec = TrajectorySpec(
            config.trajectory, config.distance, config.rotation, **_spiral(config)
        )
        if spec.name == "none":
            spec = TrajectorySpec("left", 0.0)
        make_trajectory(spec, 2)
        return [Shot("", spec)]
    ranges = [replace(item, **_spiral(config)) for item in MULTI_TRAJECTORY]
    directions = (False, True) if config.flipped else (False,)
    return [
        Shot(str(number + len(ranges) * backwards), item, backwards)
        for backwards in directions
        for number, item in enumerate(ranges)
    ]


def shot_spec(shot: Shot, config: CameraConfig, drawn: Draw) -> TrajectorySpec | Path:
    """Returns the shot's trajectory, with the drawn distance, or its file."""
    if isinstance(shot.path, TrajectoryRange):
        return shot.path.spec(drawn.position, config.factor, config.rotation)
    return shot.path


def shot_rig(spec: TrajectorySpec | Path, source: Rig, height: int, width: int) -> Rig:
    """Returns the cameras of all frames of a shot, on the source's device.

    A file's cameras are relative to the source's, with its centre depth as their unit; their lens
    zooms the source's.
    """
    count = len(source.w2c)
    if isinstance(spec, TrajectorySpec):
        w2c = make_trajectory(spec, count, source.center_depth, source.w2c)
        return Rig(source.intrinsics, w2c)
    own = trajectory_from_file(spec, count, width, height).to(source.w2c.device)
    local = own.c2w.double()
    local[:, :3, 3] *= source.center_depth
    w2c = compose(invert_rigid(local), source.w2c.double()).float()
    zoom = own.intrinsics[:, :2] / own.intrinsics[:1, :2]
    shift = own.intrinsics[:, 2:] - own.intrinsics[:1, 2:]
    lens = torch.cat([source.intrinsics[:, :2] * zoom, source.intrinsics[:, 2:] + shift], dim=1)
    return Rig(lens, w2c)


def file_intrinsics(path: Path, height: int, width: int) -> Float[Tensor, "4"]:
    """Returns the lens of a file's first camera, which took the input picture."""
    return trajectory_from_file(path, 2, width, height).intrinsics[0]


def describe(spec: TrajectorySpec | Path) -> dict[str, object]:
    """Returns the trajectory for the metadata of its clip."""
    if isinstance(spec, Path):
        return {"name": "file", "file": spec.name}
    return asdict(spec)


def _spiral(config: CameraConfig) -> dict[str, Any]:
    values: dict[str, Any] = dict(config.spiral or {})
    if "num_circles" in values:
        circles = values["num_circles"]
        if not is_number(circles, MOST_CIRCLES) or circles != int(circles):
            expected = f"an integer from -{MOST_CIRCLES} to {MOST_CIRCLES}"
            raise InputError("--camera_gen_kwargs", f"num_circles {circles}"[:100], expected)
        values["num_circles"] = int(circles)
    return values
