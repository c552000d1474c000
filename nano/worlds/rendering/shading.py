"""Samples of worlds: colour and exact depth along rays, as one pure function of tensors.

Eager, each operation writes its result to memory, which is what takes the time on a GPU. Compiled,
all of them become a few kernels that keep everything between them in registers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ..shapes import Planes, Rays
from .lighting import develop, illuminate
from .raycast import CastScene, trace
from .surface import surface_at
from .textures import paint

# Rays are cast in blocks of one camera each: the length of all inner loops.
BLOCK = 1024
# Sizes 0 and 1 are compiled for themselves: everything that varies is padded to this.
LEAST_SIZE = 2


@dataclass(frozen=True)
class Lens:
    """Rays of cameras in scene coordinates; a row for each camera."""

    origin: Float[Tensor, "camera 3"]
    rotation: Float[Tensor, "camera 3 3"]
    intrinsics: Float[Tensor, "camera 4"]

    def map(self, function: Callable[[Tensor], Tensor]) -> "Lens":
        """The same lenses with `function` applied to each tensor."""
        return Lens(function(self.origin), function(self.rotation), function(self.intrinsics))

    def directions(self, points: Float[Tensor, "2 camera ray"]) -> Planes:
        """Directions of camera z 1 through image points in pixels."""
        fx, fy, cx, cy = self.intrinsics[:, :, None].unbind(1)
        x, y = (points[0] - cx) / fx, (points[1] - cy) / fy
        columns = self.rotation.permute(1, 2, 0)[..., None].unbind(1)
        return columns[0] * x + columns[1] * y + columns[2]


# Colours in [0, 1], camera z and the solid that is hit.
Shades = tuple[Planes, Rays, Int[Tensor, "camera ray"]]
Shader = Callable[[CastScene, Lens, Tensor, Tensor, Tensor], Shades]


def shade(
    scene: CastScene,
    lens: Lens,
    points: Float[Tensor, "2 camera ray"],
    spacing: Float[Tensor, "camera 1"],
    volume: Float[Tensor, "1 2 side side side"],
) -> Shades:
    """Colours, camera z and solids of image points in pixels, `spacing` pixels apart.

    `volume` is that of `noise_volume`.
    """
    origin, direction = lens.origin.T, lens.directions(points)
    hits = trace(scene, origin, direction)
    surface = surface_at(scene, origin, direction, hits)
    # The sky is painted by direction: as a point of the unit sphere.
    local = torch.where(surface.is_sky, surface.point / scene.dome, surface.local)
    rows = scene.materials.shape[1]
    materials = scene.materials.gather(2, surface.material[:, None].expand(-1, rows, -1))
    # Radians between neighbouring samples, from which patterns know how wide a sample is.
    angle = spacing / lens.intrinsics[:, :1]
    u_width, v_width = surface.widths
    along = (surface.u, surface.v, u_width * angle, v_width * angle)
    painted = paint(materials, local, along, surface.is_sky, volume)
    return develop(illuminate(scene, surface, hits.solid, painted)), hits.t, hits.solid


@lru_cache(maxsize=1)
def _compiled() -> Shader:
    return torch.compile(shade, fullgraph=True)


def compiled_shade(
    scene: CastScene,
    lens: Lens,
    points: Float[Tensor, "2 camera ray"],
    spacing: Float[Tensor, "camera 1"],
    volume: Float[Tensor, "1 2 side side side"],
) -> Shades:
    """The same as `shade`; the first call compiles it, for any number of cameras and solids.

    There must be at least `LEAST_SIZE` solids of each shape.
    """
    rows, rays = points.shape[1:]
    assert rays <= BLOCK, f"{rays} rays of a camera"
    if rows < LEAST_SIZE:
        twice = torch.zeros(LEAST_SIZE, dtype=torch.int64, device=points.device)
        scene, lens = (
            scene.map(lambda tensor: tensor[twice]),
            lens.map(lambda tensor: tensor[twice]),
        )
        points, spacing = points[:, twice], spacing[twice]
    boxes, cylinders, spheres = (_loose(numbers, 0, 2) for numbers in scene.solids)
    scene = CastScene(
        solids=(boxes, cylinders, spheres),
        shell_box=_loose(scene.shell_box, 0),
        dome=_loose(scene.dome, 0),
        materials=_loose(scene.materials, 0, 2),
        light=_loose(scene.light, 0),
    )
    lens = lens.map(lambda tensor: _loose(tensor, 0))
    points = _loose(functional.pad(points, (0, BLOCK - rays)), 1)
    color, t, solid = _compiled()(scene, lens, points, _loose(spacing, 0), volume)
    return color[:, :rows, :rays], t[:rows, :rays], solid[:rows, :rays]


def _loose(tensor: Float[Tensor, "..."], *axes: int) -> Float[Tensor, "..."]:
    """A copy whose `axes` may have any size from `LEAST_SIZE`: graphs are tied to views' bases."""
    tensor = tensor.clone(memory_format=torch.contiguous_format)
    for axis in axes:
        assert tensor.shape[axis] >= LEAST_SIZE, f"{tensor.shape}, axis {axis}"
        torch._dynamo.maybe_mark_dynamic(tensor, axis)
    return tensor
