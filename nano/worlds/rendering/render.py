"""Frames of worlds: colour, antialiased where surfaces meet, and exact depth.

A pixel's centre lies at +0.5; its depth is the camera z of the ray through the centre. Its colour
is one sample if the pixel and its neighbours lie on one smooth surface, whose pattern is already
band-limited, and otherwise the mean of `supersample ** 2` samples.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from src.geometry.cameras import Cameras, compose
from src.runtime import can_compile

from ..photo.coats import photo_atlas
from ..scene import Worlds
from .raycast import CastScene, Hits
from .shading import (
    BLOCK,
    RaySamples,
    Shader,
    Volume,
    run_compiled,
    shade,
    shade_photo,
)
from .textures import noise_volume

# Numbers of the largest tensor: small enough for a CPU's cache, large enough to keep a GPU busy.
CPU_NUMBERS, GPU_NUMBERS = 1 << 17, 1 << 24
# A change of slope (in units of depth over width) beyond which a crease is antialiased.
CREASE = 0.1
# By the detail of the worlds: the shader, and the volume that it reads.
SHADERS: Mapping[str, tuple[Shader, Callable[[torch.device], Volume]]] = {
    "plain": (shade, noise_volume),
    "photo": (shade_photo, photo_atlas),
}


@dataclass(frozen=True)
class WorldFrames:
    """Rendered frames: RGB in [0, 1] and camera z at the pixels' centres, in world units."""

    rgb: Float[Tensor, "world frame 3 height width"]
    depth: Float[Tensor, "world frame height width"]


# The camera of each block, and its pixels; the index of a padded slot is the number of pixels.
Blocks: TypeAlias = tuple[Int[Tensor, " block"], Int[Tensor, "block slot"]]
Cast: TypeAlias = tuple[
    Float[Tensor, "3 block slot"], Float[Tensor, "block ray"], Int[Tensor, "block ray"]
]


@dataclass(frozen=True, kw_only=True)
class _Caster:
    """Casts rays of cameras, a row of `scene`, `pose` and `intrinsics` each; `rays` at a time."""

    scene: CastScene
    pose: Float[Tensor, "camera 3 4"]
    intrinsics: Float[Tensor, "camera 4"]
    size: tuple[int, int]
    shader: Shader
    volume: Volume
    rays: int

    def cast(self, blocks: Blocks, grid: int) -> Cast:
        """Mean colours of `grid` x `grid` samples in each pixel; t and solid of every sample."""
        width, height = self.size
        rows = max(self.rays // (blocks[1].shape[1] * grid**2), 1)
        steps = (torch.arange(grid, device=self.pose.device) + 0.5) / grid
        pieces = []
        for camera, index in zip(*(part.split(rows) for part in blocks), strict=True):
            index = index.clamp_max(width * height - 1)
            x = (index % width)[..., None, None] + steps
            y = (index // width)[..., None, None] + steps[:, None]
            points = [part.expand(*index.shape, grid, grid).flatten(1) for part in (x, y)]
            samples = RaySamples(
                pose=self.pose[camera],
                intrinsics=self.intrinsics[camera],
                points=torch.stack(points, dim=1).to(self.pose.dtype),
                spacing=torch.full_like(self.intrinsics[camera, :1], 1 / grid),
            )
            color, t, solid = self.shader(self.scene[camera], samples, self.volume)
            pieces.append((color.unflatten(2, (-1, grid * grid)).mean(3), t, solid))
        color, t, solid = (torch.cat(parts, dim=-2) for parts in zip(*pieces, strict=True))
        return color, t, solid


@torch.no_grad()
def render_worlds(
    worlds: Worlds,
    cameras: Cameras,
    times: Float[Tensor, "world frame"],
    supersample: int = 2,
    compile: bool | None = None,
) -> WorldFrames:
    """Frames of every world: `cameras` are (world, frame), times in [0, 1] (ignored when still).

    Cameras must lie in the free space of the worlds. All tensors are on one device; the frames of
    a world don't depend on the rest of the batch, up to rounding.

    With `compile` the first call of a process takes about a minute, less if the compiler's cache
    has the kernels; later calls of any size take a fraction of the time. The default is to compile
    on CUDA only; pass `False` for a few frames. Compiled pictures differ only by rounding.
    """
    count, frames = times.shape
    assert cameras.c2w.shape[:2] == (count, frames), (
        f"cameras {cameras.c2w.shape}, times {times.shape}"
    )
    assert len(worlds) == count, f"{len(worlds)} worlds, cameras of {count}"
    assert supersample >= 1, f"supersample {supersample}"
    device, pixels = times.device, cameras.width * cameras.height
    compiled = can_compile(device, shade) if compile is None else compile
    numbers = CPU_NUMBERS if device.type == "cpu" else GPU_NUMBERS
    least = worlds.least if compiled else (0, 0, 0)
    sizes = worlds.sizes()
    fullness = [sum(size) for size in sizes]
    # A few worlds like photographs are much fuller than the others.
    most = sum(fullness) // count if worlds.detail == "photo" else max(fullness)
    rays = max(numbers // max(most, 1), 1)
    at_once = max(rays // pixels, 1)
    step = max(at_once // frames, 1)
    shader, volume_on = SHADERS[worlds.detail]
    if compiled:
        shader = partial(run_compiled, shader)
    volume = volume_on(device).to(worlds.focal.dtype)
    rgb, depth = [], []
    for first in range(0, count, step):
        some = slice(first, first + step)
        # Padding costs as much as real solids.
        boxes, cylinders, spheres = (max(kind) for kind in zip(least, *sizes[some], strict=True))
        group = worlds[some].trimmed((boxes, cylinders, spheres))
        for start in range(0, frames, at_once):
            part = (some, slice(start, start + at_once))
            here = replace(cameras, c2w=cameras.c2w[part], intrinsics=cameras.intrinsics[part])
            color, z = _render(
                group,
                here,
                times[part],
                supersample=supersample,
                shader=shader,
                volume=volume,
                rays=rays,
            )
            rgb.append(color)
            depth.append(z)
    size = (cameras.height, cameras.width)
    return WorldFrames(
        rgb=torch.cat(rgb).view(count, frames, 3, *size),
        depth=torch.cat(depth).view(count, frames, *size),
    )


def _render(
    worlds: Worlds,
    cameras: Cameras,
    times: Float[Tensor, "world frame"],
    *,
    supersample: int,
    shader: Shader,
    volume: Volume,
    rays: int,
) -> tuple[Float[Tensor, "camera 3 pixel"], Float[Tensor, "camera pixel"]]:
    """Colours and depths of all pixels; the frames of the first world, then of the second ..."""
    which = torch.arange(len(worlds), device=times.device).repeat_interleave(times.shape[1])
    pose = compose(worlds.scene_from_world[which], cameras.c2w.flatten(0, 1)[:, :3])
    width, height = cameras.width, cameras.height
    caster = _Caster(
        scene=worlds.at(which, times.flatten()),
        pose=pose,
        intrinsics=cameras.intrinsics.flatten(0, 1),
        size=(width, height),
        shader=shader,
        volume=volume,
        rays=rays,
    )
    pixels, rows = width * height, len(pose)
    # Every pixel of every camera, in order; the last block of each camera holds the padding.
    parts = -(-pixels // BLOCK)
    index = torch.arange(parts * -(-pixels // parts), device=pose.device).clamp_max(pixels)
    camera = torch.arange(rows, device=pose.device).repeat_interleave(parts)
    color, t, solid = caster.cast((camera, index.view(parts, -1).repeat(rows, 1)), grid=1)
    color = color.view(3, rows, -1)[..., :pixels]
    t, solid = (part.view(rows, -1)[:, :pixels] for part in (t, solid))
    if supersample > 1:
        edges = _edges(Hits(t, solid), caster.size, caster.intrinsics[:, 0])
        camera, index = _edge_blocks(edges, max(BLOCK // supersample**2, 1))
        if len(camera) > 0:
            fine, _, _ = caster.cast((camera, index), grid=supersample)
            # Padding is written to a pixel beyond the last.
            padded = functional.pad(color, (0, 1)).flatten(1)
            place = camera[:, None] * (pixels + 1) + index
            padded[:, place.flatten()] = fine.flatten(1)
            color = padded.view(3, rows, -1)[..., :pixels]
    return color.transpose(0, 1).contiguous(), t


def _edges(
    hits: Hits, size: tuple[int, int], focal: Float[Tensor, " camera"]
) -> Bool[Tensor, "camera pixel"]:
    """Pixels with another solid, or a crease, among their neighbours."""
    width, height = size
    solid = hits.solid.view(-1, 1, height, width).float()
    highest, lowest = (sign * functional.max_pool2d(sign * solid, 3, 1, 1) for sign in (1, -1))
    # 1 / z is linear in the image on a plane.
    inverse = hits.t.reciprocal().view(-1, height, width)
    bend = torch.zeros_like(inverse)
    bend[:, :, 1:-1] = (inverse[:, :, 2:] + inverse[:, :, :-2] - 2 * inverse[:, :, 1:-1]).abs()
    along = (inverse[:, 2:] + inverse[:, :-2] - 2 * inverse[:, 1:-1]).abs()
    bend[:, 1:-1] = torch.maximum(bend[:, 1:-1], along)
    crease = bend > CREASE / focal[:, None, None] * inverse
    return ((highest != lowest)[:, 0] | crease).flatten(1)


def _edge_blocks(edges: Bool[Tensor, "camera pixel"], length: int) -> Blocks:
    """The marked pixels of each camera in blocks of `length`."""
    (rows, pixels), device = edges.shape, edges.device
    counts = (edges.sum(1) + length - 1) // length
    ends = counts.cumsum(0)
    total = int(ends[-1])
    place = edges.cumsum(1) - 1 + (ends - counts)[:, None] * length
    # Unmarked pixels are written to a slot beyond the last.
    place = torch.where(edges, place, total * length)
    padded = torch.full((total * length + 1,), pixels, device=device)
    padded[place.flatten()] = torch.arange(pixels, device=device).repeat(rows)
    camera = torch.arange(rows, device=device).repeat_interleave(counts, output_size=total)
    return camera, padded[:-1].view(total, length)
