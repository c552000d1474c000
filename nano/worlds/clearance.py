"""Free space for cameras, and motions that keep it free.

The unit of length is the depth at the centre of the default camera's picture.
"""

import math
from dataclasses import replace
from functools import lru_cache

import numpy as np
from jaxtyping import Float

from src.geometry.cameras import invert_rigid
from src.geometry.trajectories import MULTI_TRAJECTORY, TrajectorySpec, make_trajectory

from .layout import GAP, STILL, Layout, Motion, Standing, draw_motion
from .props import Solid

# The least distance of the cameras' paths from surfaces, and of solids from the default camera.
CLEARANCE, FREE_RADIUS = 0.1, 0.45
REACHES = {"left": 0.6, "right": 0.6, "up": 0.3, "down": 0.15, "zoom_in": 0.45, "zoom_out": 0.6}
TIMES = np.linspace(0, 1, 25)
MOST_MOVING, LONGEST_SWAY = 3, 0.3
HALVINGS = 4


@lru_cache
def camera_paths() -> Float[np.ndarray, "point 3"]:
    """Camera centres that must lie in free space, in the default camera's axes."""
    specs = [TrajectorySpec(name, reach) for name, reach in REACHES.items()]
    # The widest published spiral; the straight trajectories are shorter than the reaches.
    specs.append(MULTI_TRAJECTORY[-1].spec(1.0))
    poses = [invert_rigid(make_trajectory(spec, 13).double()) for spec in specs]
    return np.concatenate([pose[:, :3, 3].numpy() for pose in poses])


def scene_from_world(pitch: float) -> Float[np.ndarray, "3 3"]:
    """The rotation from the default camera's axes to the scene's level axes."""
    cos, sin = math.cos(pitch), math.sin(pitch)
    return np.array([[1.0, 0, 0], [0, cos, sin], [0, -sin, cos]])


def _gap(solid: Solid, motion: Motion, points: Float[np.ndarray, "point 3"]) -> float:
    """The least distance of points from the upright cylinder around a solid, over all times."""
    offsets = motion.offsets(TIMES) if motion is not STILL else np.zeros((1, 3))
    away = points[None] - (np.array(solid.center) + offsets)[:, None]
    side = np.hypot(away[..., 0], away[..., 2]) - solid.radius
    cap = np.abs(away[..., 1]) - solid.half[1]
    return float(np.hypot(side.clip(min=0), cap.clip(min=0)).min())


def is_clear(layout: Layout) -> bool:
    """Whether the cameras' paths are free in a layout with a centre depth of 1."""
    points = camera_paths() @ scene_from_world(layout.pitch).T
    if not layout.surroundings.shell.contains(points, CLEARANCE):
        return False
    return all(
        _gap(solid, motion, points) >= CLEARANCE
        and _gap(solid, motion, np.zeros((1, 3))) >= FREE_RADIUS
        for solid, motion in layout.placed()
    )


def set_in_motion(layout: Layout, rng: np.random.Generator) -> Layout:
    """Returns the layout with one to three moving things, apart from each other, walls and cameras.

    A motion that comes too near to something is halved, up to `HALVINGS` times; if it stays too
    long, the next thing is tried. If nothing can move, the hero hops a little.
    """
    wanted = int(rng.integers(1, MOST_MOVING + 1))
    for index in rng.permutation(len(layout.standing)).tolist():
        if wanted == 0:
            break
        if _is_hidden(layout, index):
            continue
        reach = rng.uniform(0.4, 1.0) * LONGEST_SWAY
        single = len(layout.standing[index].prop.solids) == 1
        for _ in range(HALVINGS):
            moved = _with_motion(layout, index, draw_motion(rng, reach, single))
            if _is_apart(moved, index) and is_clear(moved):
                layout, wanted = moved, wanted - 1
                break
            reach /= 2
    if any(thing.motion is not STILL for thing in layout.standing):
        return layout
    return _with_motion(layout, 0, Motion(hop=0.03, hops=2.0))


def _is_hidden(layout: Layout, index: int) -> bool:
    """Whether a thing's middle is behind the hero, the first thing, for the default camera."""
    thing, hero = layout.standing[index], layout.standing[0]
    aside = abs(thing.x / thing.z - hero.x / hero.z)
    return index > 0 and thing.z > hero.z and aside < hero.prop.radius / hero.z


def _with_motion(layout: Layout, index: int, motion: Motion) -> Layout:
    thing = layout.standing[index]
    if any(solid.center[0] or solid.center[2] for solid in thing.prop.solids):
        # Solids turn about their own axes: parts beside the foot would come apart.
        motion = replace(motion, spin=0.0)
    moved = replace(thing, motion=motion)
    before, after = layout.standing[:index], layout.standing[index + 1 :]
    return replace(layout, standing=(*before, moved, *after))


def _track(thing: Standing) -> Float[np.ndarray, "time 3"]:
    return np.array([thing.x, 0, thing.z]) + thing.motion.offsets(TIMES)


def _is_apart(layout: Layout, index: int) -> bool:
    """Whether thing `index` stays apart from the others and inside the shell at all times."""
    thing = layout.standing[index]
    track = _track(thing)
    for other in layout.standing[:index] + layout.standing[index + 1 :]:
        between = (track - _track(other))[:, [0, 2]]
        if np.hypot(*between.T).min() < thing.prop.radius + other.prop.radius + GAP / 2:
            return False
    shell = layout.surroundings.shell
    # Only the footprint matters: all heights are at the shell's middle.
    track[:, 1] += shell.center[1]
    return shell.contains(track, thing.prop.radius)
