"""The shots of a scene: which trajectories there are, what is drawn for them, their cameras.

A shot is one trajectory of one scene. Its seed and the position of its distance in the trajectory's
range come from a hash of the run's seed, the scene's key and the shot's folder, so that they are
the same in whatever order, and on whatever machine, shots are made.
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

# More turns than the longest clip has frames.
MOST_CIRCLES = 1000


@dataclass(frozen=True)
class Draw:
    """What is random about a shot: the seed of its noise, and a position in [0, 1)."""

    seed: int
    position: float


@dataclass(frozen=True)
class Shot:
    """One trajectory of a scene, its clips in `folder` (empty: the root of the output).

    `path` is a published trajectory, a range of them, or a file of cameras. A `backwards` shot is
    made from the input played backwards.
    """

    folder: str
    path: TrajectorySpec | TrajectoryRange | Path
    backwards: bool = False


@dataclass(frozen=True)
class Rig:
    """Cameras of every frame, and for a source the depth about which trajectories turn.

    Poses are world-to-camera: the 3D cache shows a source frame without holes where a target's
    pose is the source's, bit for bit, which an inverse of an inverse is not.
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
        # The exact inverse: rotations of a user's file are orthonormal to four decimals only.
        c2w = torch.linalg.inv(self.w2c.double()).float()
        return Cameras(c2w.cpu(), self.intrinsics.cpu(), width, height)


def draw(seed: int, key: str, folder: str) -> Draw:
    """The draw of the shot of a scene, of the run with `seed`."""
    digest = hashlib.sha256(f"{seed}\n{key}\n{folder}".encode()).digest()
    # 32 bits: what numpy takes for a seed. 53 bits: what a float in [0, 1) holds.
    noise = int.from_bytes(digest[:4], "big")
    return Draw(noise, (int.from_bytes(digest[8:16], "big") >> 11) / 2**53)


def published_draw(seed: int) -> Draw:
    """The draw of every shot in the original: the run's own seed, and Python's first number of it.

    There the first trajectory's distance is drawn before anything is seeded, and is another one
    each time; here it has the number of the others.
    """
    return Draw(seed, random.Random(seed).random())


def list_shots(config: CameraConfig) -> list[Shot]:
    """The shots of every scene: six, twelve with reversed ones, or one.

    Raises:
        InputError: a distance or a shape that yields no cameras, an unreadable file.
    """
    if config.file is not None:
        # Read once for the sake of its errors; the size is not known yet and does not matter.
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
    """What the shot follows, its distance drawn where it has a range of them."""
    if isinstance(shot.path, TrajectoryRange):
        return shot.path.spec(drawn.position, config.factor, config.rotation)
    return shot.path


def shot_rig(spec: TrajectorySpec | Path, source: Rig, height: int, width: int) -> Rig:
    """The cameras of all frames of a shot, on the device of the source's.

    Those of a file are relative to the source's, whose centre depth is their unit; their lens
    zooms that of the source.
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
    """The lens of a file's first camera, which took the input picture."""
    return trajectory_from_file(path, 2, width, height).intrinsics[0]


def describe(spec: TrajectorySpec | Path) -> dict[str, object]:
    """The trajectory for the metadata of its clip."""
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
