"""Frames of worlds: colour, antialiased where surfaces meet, and exact depth.

A pixel's centre lies at +0.5. Its depth is the camera z of the ray through the centre alone. Its
colour is one sample where the pixel and its neighbours lie on one smooth surface, whose pattern is
already band-limited, and the mean of `supersample ** 2` samples elsewhere.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from ..geometry.cameras import Cameras, compose
from .lighting import develop, illuminate
from .raycast import Hits, Scene, trace
from .scene import Worlds
from .shapes import Planes, Rays
from .surface import surface_at
from .textures import paint

# Largest tensor of the computation, in numbers: one that stays in a CPU's cache, or one that
# keeps a GPU busy.
CPU_NUMBERS, GPU_NUMBERS = 1 << 17, 1 << 25
# A change of slope (in units of depth over width) beyond which a crease is antialiased.
CREASE = 0.1


@dataclass(frozen=True)
class WorldFrames:
    """Rendered frames: RGB in [0, 1] and camera z at the pixels' centres, in world units."""

    rgb: Float[Tensor, "world frame 3 height width"]
    depth: Float[Tensor, "world frame height width"]


@dataclass(frozen=True)
class _Lens:
    """Rays of cameras in scene coordinates; a row for each camera."""

    origin: Float[Tensor, "3 camera"]
    rotation: Float[Tensor, "camera 3 3"]
    intrinsics: Float[Tensor, "camera 4"]

    def directions(self, x: Rays, y: Rays) -> Planes:
        """Directions of camera z 1 through image points in pixels."""
        fx, fy, cx, cy = self.intrinsics[:, :, None].unbind(1)
        x, y = (x - cx) / fx, (y - cy) / fy
        columns = self.rotation.permute(1, 2, 0)[..., None].unbind(1)
        return columns[0] * x + columns[1] * y + columns[2]


@torch.no_grad()
def render_worlds(
    worlds: Worlds, cameras: Cameras, times: Float[Tensor, "world frame"], supersample: int = 2
) -> WorldFrames:
    """Frames of every world: `cameras` are (world, frame), times in [0, 1] (ignored when still).

    Cameras must lie in the free space of the worlds. All tensors are on one device; the frames of
    a world don't depend on what else is in the batch (up to rounding). A batch is padded to its
    fullest world: many frames of few worlds take less time than few frames of many.
    """
    count, frames = times.shape
    assert cameras.c2w.shape[:2] == (count, frames), (
        f"cameras {cameras.c2w.shape}, times {times.shape}"
    )
    assert len(worlds) == count, f"{len(worlds)} worlds, cameras of {count}"
    assert supersample >= 1, f"supersample {supersample}"
    width, height = cameras.width, cameras.height
    pixels, total = width * height, count * frames
    c2w, intrinsics = cameras.c2w.flatten(0, 1), cameras.intrinsics.flatten(0, 1)
    moments = times.flatten()
    which = torch.arange(count, device=c2w.device).repeat_interleave(frames)
    numbers = CPU_NUMBERS if c2w.device.type == "cpu" else GPU_NUMBERS
    rays = max(numbers // max(sum(worlds.counts), 1), 1)
    step = max(rays // pixels, 1)
    rgb, depth = [], []
    for start in range(0, total, step):
        part = slice(start, start + step)
        turn = worlds.scene_from_world[which[part]]
        pose = c2w[part]
        pose = compose(turn, pose[:, :3])
        lens = _Lens(pose[:, :, 3].T, pose[:, :, :3], intrinsics[part])
        scene = worlds.at(which[part], moments[part])
        colors, z = _render(scene, lens, (width, height), supersample, max(rays // step, 1))
        rgb.append(colors)
        depth.append(z)
    return WorldFrames(
        rgb=torch.cat(rgb).view(count, frames, 3, height, width),
        depth=torch.cat(depth).view(count, frames, height, width),
    )


def _render(
    scene: Scene, lens: _Lens, size: tuple[int, int], supersample: int, span: int
) -> tuple[Float[Tensor, "camera 3 pixel"], Float[Tensor, "camera pixel"]]:
    """Colours and depths of all pixels of some cameras, `span` rays of each at a time."""
    width, height = size
    rows, device = lens.intrinsics.shape[0], lens.intrinsics.device
    index = torch.arange(width * height, device=device).expand(rows, -1)
    spans = index.split(span, dim=1)
    pieces = [_shade(scene, lens, chosen, size, 1) for chosen in spans]
    color, t, solid = (torch.cat(parts, dim=-1) for parts in zip(*pieces, strict=True))
    if supersample > 1:
        slots = _edge_pixels(_edges(Hits(t, solid), size, lens.intrinsics[:, 0]))
        # Slots that are padding write to a pixel beyond the last.
        color = functional.pad(color, (0, 1))
        for chosen in slots.split(max(span // supersample**2, 1), dim=1):
            fine, _, _ = _shade(scene, lens, chosen, size, supersample)
            color.scatter_(2, chosen.expand(3, -1, -1), fine)
        color = color[..., :-1]
    return color.transpose(0, 1).contiguous(), t


def _shade(
    scene: Scene, lens: _Lens, index: Int[Tensor, "camera pixel"], size: tuple[int, int], grid: int
) -> tuple[Float[Tensor, "3 camera pixel"], Rays, Int[Tensor, "camera ray"]]:
    """Mean colours of `grid` x `grid` samples in each pixel; t and solid of every sample."""
    width, height = size
    index = index.clamp_max(width * height - 1)
    steps = (torch.arange(grid, device=index.device) + 0.5) / grid
    x = (index % width)[..., None, None] + steps
    y = (index // width)[..., None, None] + steps[:, None]
    x, y = (part.expand(*index.shape, grid, grid).flatten(1) for part in (x, y))
    direction = lens.directions(x, y)
    hits = trace(scene, lens.origin, direction)
    surface = surface_at(scene, lens.origin, direction, hits)
    local = torch.where(surface.is_sky, surface.point / scene.dome, surface.local)
    rows = scene.materials.shape[1]
    materials = scene.materials.gather(2, surface.material[:, None].expand(-1, rows, -1))
    angle = 1 / (lens.intrinsics[:, :1] * grid)
    u_width, v_width = surface.widths
    along = (surface.u, surface.v, u_width * angle, v_width * angle)
    painted = paint(materials, local, along, surface.is_sky)
    color = develop(illuminate(scene, surface, hits.solid, painted))
    return color.unflatten(2, (-1, grid * grid)).mean(3), hits.t, hits.solid


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


def _edge_pixels(edges: Bool[Tensor, "camera pixel"]) -> Int[Tensor, "camera slot"]:
    """Indices of the marked pixels of each camera, padded with the number of pixels."""
    pixels = edges.shape[1]
    slots = int(edges.sum(1).max())
    place = torch.where(edges, edges.cumsum(1) - 1, slots)
    padded = torch.full((edges.shape[0], slots + 1), pixels, device=edges.device)
    index = torch.arange(pixels, device=edges.device).expand_as(edges)
    return padded.scatter_(1, place, index)[:, :slots]
