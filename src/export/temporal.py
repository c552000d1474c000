""".glb (KHR_gaussian_splatting) and .4dgs, written by fourdgs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..gaussians import Gaussians
from ..io.atomic import atomic_path
from ..io.scene import SplatScene
from ..runtime import import_extra

# fourdgs wants a threshold of visibility; its own default.
CUTOFF = 0.05
# fourdgs' names of the axes that it knows.
AXES = {"y": "y-up-right-handed", "z": "z-up-right-handed"}


def write_glb(path: Path, gaussians: Gaussians) -> None:
    """Writes one set of Gaussians as glTF, whose y axis points up: turn them first."""
    fourdgs = import_extra("fourdgs", "export")
    scene = SplatScene((gaussians,), (0.0,), up="y")
    with atomic_path(path) as temporary:
        fourdgs.to_gltf(
            str(temporary),
            _gaussian_set(scene, seconds=1.0),
            0.0,
            cutoff=CUTOFF,
            coordinate_system=AXES[scene.up],
        )


def write_4dgs(path: Path, scene: SplatScene) -> None:
    """Writes all moments; each is shown from its time to that of the next one."""
    fourdgs = import_extra("fourdgs", "export")
    times = scene.times
    seconds = (times[-1] - times[0]) / max(len(times) - 1, 1) or 1.0
    # The profile `default` rounds faint opacities to 0.
    options = fourdgs.WriteOptions(profile="fine", metadata={"coordinate_system": AXES[scene.up]})
    duration = times[-1] - times[0] + seconds
    with atomic_path(path) as temporary:
        fourdgs.write(str(temporary), _gaussian_set(scene, seconds), duration, options=options)


def _gaussian_set(scene: SplatScene, seconds: float) -> Any:
    """Returns fourdgs' set of all moments: no motion, no fading, a window of time for each.

    The moments' Gaussians are not tracked, so that velocities between them would be invented.
    """
    fourdgs = import_extra("fourdgs", "export")
    begins = [time - scene.times[0] for time in scene.times]
    ends = [*begins[1:], begins[-1] + seconds]
    middles = [(begin + end) / 2 for begin, end in zip(begins, ends, strict=True)]
    if len(begins) == 1:
        begins, ends = [-np.inf], [np.inf]
    counts = [len(moment) for moment in scene.moments]
    together = Gaussians.concatenate(scene.moments)
    colors = torch.cat([together.colors.clamp(0, 1), together.opacities[:, None]], dim=1)
    return fourdgs.GaussianSet(
        positions=together.means.numpy(),
        scales=together.scales.numpy(),
        # fourdgs' order is xyzw.
        rotations=together.quats[:, [1, 2, 3, 0]].numpy(),
        colors=colors.numpy(),
        motions=np.zeros((len(together), 3), np.float32),
        mu_t=np.repeat(np.array(middles, np.float32), counts),
        sigma_t=np.full(len(together), np.inf, np.float32),
        win_lo=np.repeat(begins, counts),
        win_hi=np.repeat(ends, counts),
    )
