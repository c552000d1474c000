"""Frames of worlds: colour, antialiased where surfaces meet, and exact depth.

A pixel's centre lies at +0.5. Its depth is the camera z of the ray through the centre alone. Its
colour is one sample where the pixel and its neighbours lie on one smooth surface, whose pattern is
already band-limited, and the mean of `supersample ** 2` samples elsewhere.
"""

from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from src.geometry.cameras import Cameras, compose
from src.runtime import can_compile

from ..scene import LEAST_COUNT, Worlds
from .noise import noise_volume
from .raycast import CastScene, Hits
from .shading import BLOCK, Lens, Shader, compiled_shade, shade

# Largest tensor of the computation, in numbers: one that stays in a CPU's cache, or one that
# keeps a GPU busy.
CPU_NUMBERS, GPU_NUMBERS = 1 << 17, 1 << 24
# A change of slope (in units of depth over width) beyond which a crease is antialiased.
CREASE = 0.1


@dataclass(frozen=True)
class WorldFrames:
    """Rendered frames: RGB in [0, 1] and camera z at the pixels' centres, in world units."""

    rgb: Float[Tensor, "world frame 3 height width"]
    depth: Float[Tensor, "world frame height width"]


@dataclass(frozen=True)
class _Blocks:
    """Pixels in blocks of equal size; the index of a pixel that is padding is their number."""

    camera: Int[Tensor, " block"]
    index: Int[Tensor, "block pixel"]


Cast: TypeAlias = tuple[
    Float[Tensor, "3 block pixel"], Float[Tensor, "block ray"], Int[Tensor, "block ray"]
]


@dataclass(frozen=True)
class _Caster:
    """Casts rays into some scenes of some cameras, `rays` of them at a time."""

    scene: CastScene
    lens: Lens
    size: tuple[int, int]
    shader: Shader
    volume: Float[Tensor, "1 2 side side side"]
    rays: int

    @staticmethod
    def of(
        worlds: Worlds,
        cameras: Cameras,
        times: Float[Tensor, "world frame"],
        shader: Shader,
        rays: int,
    ) -> "_Caster":
        """Of the frames of worlds: a row for each frame of the first world, of the second ..."""
        which = torch.arange(len(worlds), device=times.device).repeat_interleave(times.shape[1])
        pose = cameras.c2w.flatten(0, 1)[:, :3]
        pose = compose(worlds.scene_from_world[which], pose)
        lens = Lens(pose[:, :, 3], pose[:, :, :3], cameras.intrinsics.flatten(0, 1))
        return _Caster(
            scene=worlds.at(which, times.flatten()),
            lens=lens,
            size=(cameras.width, cameras.height),
            shader=shader,
            volume=noise_volume(times.device).to(pose.dtype),
            rays=rays,
        )

    def cast(self, blocks: _Blocks, grid: int) -> Cast:
        """Mean colours of `grid` x `grid` samples in each pixel; t and solid of every sample."""
        rows = max(self.rays // (blocks.index.shape[1] * grid**2), 1)
        pairs = zip(blocks.camera.split(rows), blocks.index.split(rows), strict=True)
        pieces = [self._some(_Blocks(camera, index), grid) for camera, index in pairs]
        color, t, solid = (torch.cat(parts, dim=-2) for parts in zip(*pieces, strict=True))
        return color, t, solid

    def _some(self, blocks: _Blocks, grid: int) -> Cast:
        width, height = self.size
        index = blocks.index.clamp_max(width * height - 1)
        steps = (torch.arange(grid, device=index.device) + 0.5) / grid
        x = (index % width)[..., None, None] + steps
        y = (index // width)[..., None, None] + steps[:, None]
        points = torch.stack([part.expand(*index.shape, grid, grid) for part in (x, y)])
        points = points.flatten(2).to(self.lens.origin.dtype)
        scene = self.scene.map(lambda tensor: tensor[blocks.camera])
        lens = self.lens.map(lambda tensor: tensor[blocks.camera])
        spacing = torch.full_like(lens.intrinsics[:, :1], 1 / grid)
        color, t, solid = self.shader(scene, lens, points, spacing, self.volume)
        color = color.unflatten(2, (-1, grid * grid)).mean(3)
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
    a world don't depend on what else is in the batch (up to rounding).

    With `compile` the first call of a process takes a minute or so (less when a former process left
    its kernels in the compiler's cache), whatever the sizes of it and of later calls, which then
    take a fraction of the time. The default is to compile on CUDA alone; say `False` for a few
    frames. Pictures differ by rounding alone.
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
    least = LEAST_COUNT if compiled else 0
    sizes = worlds.sizes()
    rays = max(numbers // max(*(sum(size) for size in sizes), 1), 1)
    at_once = max(rays // pixels, 1)
    step = max(at_once // frames, 1)
    shader = compiled_shade if compiled else shade
    rgb, depth = [], []
    for first in range(0, count, step):
        some = slice(first, first + step)
        # Padding costs as much as solids that are there.
        boxes, cylinders, spheres = (max(least, *kind) for kind in zip(*sizes[some], strict=True))
        group = worlds[some].trimmed((boxes, cylinders, spheres))
        for start in range(0, frames, at_once):
            part = (some, slice(start, start + at_once))
            here = replace(cameras, c2w=cameras.c2w[part], intrinsics=cameras.intrinsics[part])
            caster = _Caster.of(group, here, times[part], shader, rays)
            color, z = _render(caster, supersample)
            rgb.append(color)
            depth.append(z)
    size = (cameras.height, cameras.width)
    return WorldFrames(
        rgb=torch.cat(rgb).view(count, frames, 3, *size),
        depth=torch.cat(depth).view(count, frames, *size),
    )


def _render(
    caster: _Caster, supersample: int
) -> tuple[Float[Tensor, "camera 3 pixel"], Float[Tensor, "camera pixel"]]:
    """Colours and depths of all pixels of some cameras."""
    width, height = caster.size
    pixels, rows = width * height, len(caster.lens.origin)
    blocks = _all_blocks(rows, pixels, caster.lens.origin.device)
    color, t, solid = caster.cast(blocks, 1)
    color = color.view(3, rows, -1)[..., :pixels]
    t, solid = (part.view(rows, -1)[:, :pixels] for part in (t, solid))
    if supersample > 1:
        edges = _edges(Hits(t, solid), caster.size, caster.lens.intrinsics[:, 0])
        chosen = _edge_blocks(edges, max(BLOCK // supersample**2, 1))
        if len(chosen.camera) > 0:
            fine, _, _ = caster.cast(chosen, supersample)
            # What is padding goes to a pixel beyond the last.
            padded = functional.pad(color, (0, 1)).flatten(1)
            place = chosen.camera[:, None] * (pixels + 1) + chosen.index
            padded[:, place.flatten()] = fine.flatten(1)
            color = padded.view(3, rows, -1)[..., :pixels]
    return color.transpose(0, 1).contiguous(), t


def _all_blocks(cameras: int, pixels: int, device: torch.device) -> _Blocks:
    """Every pixel of every camera, in order; the last blocks of each camera hold the padding."""
    parts = -(-pixels // BLOCK)
    index = torch.arange(parts * -(-pixels // parts), device=device).clamp_max(pixels)
    camera = torch.arange(cameras, device=device).repeat_interleave(parts)
    return _Blocks(camera, index.view(parts, -1).repeat(cameras, 1))


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


def _edge_blocks(edges: Bool[Tensor, "camera pixel"], length: int) -> _Blocks:
    """The marked pixels of each camera in blocks of `length`."""
    (rows, pixels), device = edges.shape, edges.device
    counts = (edges.sum(1) + length - 1) // length
    ends = counts.cumsum(0)
    total = int(ends[-1])
    place = edges.cumsum(1) - 1 + (ends - counts)[:, None] * length
    # Pixels that aren't marked write to a slot beyond the last.
    place = torch.where(edges, place, total * length)
    padded = torch.full((total * length + 1,), pixels, device=device)
    padded[place.flatten()] = torch.arange(pixels, device=device).repeat(rows)
    camera = torch.arange(rows, device=device).repeat_interleave(counts, output_size=total)
    return _Blocks(camera, padded[:-1].view(total, length))
