"""Samples of worlds: colour and exact depth along rays, as one pure function of tensors.

Eager operations write their results to memory, which takes most of the time on a GPU. Compiled,
they become a few kernels that keep all intermediate results in registers.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ..shapes import Planes, Rays, Rows
from .coating import Atlas, paint_coats
from .lighting import develop, illuminate
from .raycast import CastScene, trace
from .surface import Surface, surface_at
from .textures import Painted, paint

# Rays are cast in blocks of one camera each: the length of all inner loops.
BLOCK = 1024
# A compiler specialises for the sizes 0 and 1: all sizes that vary are padded to this one.
LEAST_SIZE = 2

# What patterns read: `noise_volume`, or the atlas of textures.
Volume = Float[Tensor, "1 2 side side side"] | Atlas


@dataclass(frozen=True)
class RaySamples(Rows):
    """Image points in pixels, `spacing` pixels apart, and the cameras that see them.

    `pose` is camera-to-scene without its last row.
    """

    pose: Float[Tensor, "camera 3 4"]
    intrinsics: Float[Tensor, "camera 4"]
    points: Float[Tensor, "camera 2 ray"]
    spacing: Float[Tensor, "camera 1"]

    def directions(self) -> Planes:
        """Ray directions of camera z 1, in scene coordinates."""
        fx, fy, cx, cy = self.intrinsics[:, :, None].unbind(1)
        x, y = (self.points[:, 0] - cx) / fx, (self.points[:, 1] - cy) / fy
        columns = self.pose.permute(1, 2, 0)[..., None].unbind(1)
        return columns[0] * x + columns[1] * y + columns[2]


# Colours in [0, 1], camera z and the solids that are hit.
Shades = tuple[Planes, Rays, Int[Tensor, "camera ray"]]
Shader = Callable[[CastScene, RaySamples, Tensor], Shades]


def shade(scene: CastScene, samples: RaySamples, volume: Volume) -> Shades:
    """Colours, camera z and solids of samples; `volume` is `noise_volume`."""
    return _shade(scene, samples, volume, paint)


def shade_photo(scene: CastScene, samples: RaySamples, volume: Volume) -> Shades:
    """The same of worlds whose materials are coatings; `volume` is an atlas."""
    return _shade(scene, samples, volume, paint_coats)


def _shade(
    scene: CastScene,
    samples: RaySamples,
    volume: Volume,
    paint_with: Callable[[Tensor, Surface, Tensor], Painted],
) -> Shades:
    origin, direction = samples.pose[:, :, 3].T, samples.directions()
    hits = trace(scene, origin, direction)
    # The angle between neighbouring samples, in radians.
    angle = samples.spacing / samples.intrinsics[:, :1]
    surface = surface_at(scene, origin, direction, hits=hits, angle=angle)
    rows = scene.materials.shape[1]
    materials = scene.materials.gather(2, surface.material[:, None].expand(-1, rows, -1))
    painted = paint_with(materials, surface, volume)
    return develop(illuminate(scene, surface, hits.solid, painted=painted)), hits.t, hits.solid


@lru_cache
def _compiled(shader: Shader) -> Shader:
    return torch.compile(shader, fullgraph=True)


def run_compiled(shader: Shader, scene: CastScene, samples: RaySamples, volume: Volume) -> Shades:
    """Runs a shader compiled; the first call compiles it, for any number of cameras and solids.

    There must be at least `LEAST_SIZE` solids of each shape.
    """
    rows, _, rays = samples.points.shape
    assert rays <= BLOCK, f"{rays} rays of a camera"
    if rows < LEAST_SIZE:
        twice = torch.zeros(LEAST_SIZE, dtype=torch.int64, device=samples.points.device)
        scene, samples = scene[twice], samples[twice]
    scene = CastScene(
        boxes=_loose(scene.boxes, 0, 2),
        cylinders=_loose(scene.cylinders, 0, 2),
        spheres=_loose(scene.spheres, 0, 2),
        shell_box=_loose(scene.shell_box, 0),
        dome=_loose(scene.dome, 0),
        materials=_loose(scene.materials, 0, 2),
        light=_loose(scene.light, 0),
        casters=scene.casters,
    )
    samples = replace(samples, points=functional.pad(samples.points, (0, BLOCK - rays)))
    color, t, solid = _compiled(shader)(scene, samples.map(lambda part: _loose(part, 0)), volume)
    return color[:, :rows, :rays], t[:rows, :rays], solid[:rows, :rays]


def _loose(tensor: Float[Tensor, "..."], *axes: int) -> Float[Tensor, "..."]:
    """A copy whose `axes` may have any size from `LEAST_SIZE`: graphs are tied to views' bases."""
    tensor = tensor.clone(memory_format=torch.contiguous_format)
    for axis in axes:
        assert tensor.shape[axis] >= LEAST_SIZE, f"{tensor.shape}, axis {axis}"
        torch._dynamo.maybe_mark_dynamic(tensor, axis)
    return tensor
