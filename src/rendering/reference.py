"""The pure-torch twin of the CUDA rasteriser: same rules, same signature, every device.

Projection runs in float64, so that what remains of a difference to the CUDA kernels is their own
rounding; blending runs in the Gaussians' type.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..gaussians import Gaussians
from ..geometry.cameras import Cameras
from ..runtime import core_pool
from .blending import Blend, Canvas
from .options import RasterizeOptions
from .projection import Footprint, to_camera_space
from .projection_ewa import footprint_ewa, meets_ewa, response_ewa
from .projection_ut import footprint_ut, meets_ut, response_ut
from .render import Render
from .tiles import TileGrid, TileLists, count_tiles, intersect_tiles

# Frames x Gaussians of one pass; more frames are rendered in several passes.
SPLATS_PER_PASS = 2**16
# Pairs of splats and tiles that are listed at once.
PAIRS_CPU, PAIRS_CUDA = 2**17, 2**22


def rasterize_torch(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> Render:
    """Render the Gaussians for every camera; differentiable in all of their parameters."""
    frames = max(1, SPLATS_PER_PASS // max(1, len(gaussians)))
    parts = [cameras[first : first + frames] for first in range(0, len(cameras), frames)]
    learns = torch.is_grad_enabled() and gaussians.packed().requires_grad
    if learns or gaussians.device.type != "cpu" or min(len(parts), torch.get_num_threads()) < 2:
        passes = [_render(gaussians, part, options) for part in parts]
    else:
        passes = _render_together(gaussians, parts, options)
    return Render.concatenate(passes)


def _render_together(
    gaussians: Gaussians, parts: Sequence[Cameras], options: RasterizeOptions
) -> list[Render]:
    """Passes beside each other, a processor core each; without gradients."""
    inference = torch.is_inference_mode_enabled()

    def render(part: Cameras) -> Render:
        """One pass, in the mode of the caller, which threads don't inherit."""
        with torch.inference_mode(inference), torch.no_grad():
            return _render(gaussians, part, options)

    with core_pool(gaussians.device) as pool:
        return list(pool.map(render, parts))


@dataclass(frozen=True)
class _Scene:
    """Gaussians and cameras in float64, and the splats that the cameras see, nearest first."""

    gaussians: Gaussians
    w2c: Float[Tensor, "frame 4 4"]
    intrinsics: Float[Tensor, "frame 4"]
    options: RasterizeOptions
    grid: TileGrid
    frame: Int[Tensor, " splat"]
    index: Int[Tensor, " splat"]
    footprint: Footprint

    def table(
        self, splat: Int[Tensor, " chosen"]
    ) -> tuple[Float[Tensor, "chosen 2"], Float[Tensor, "chosen column"]]:
        """The rows of some splats; see `_splat_table`."""
        frame, size = self.frame[splat], (self.grid.width, self.grid.height)
        cameras = (self.w2c[frame], self.intrinsics[frame])
        return _splat_table(self.gaussians, *cameras, self.index[splat], self.options, size)


def _render(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> Render:
    """All frames in one pass."""
    scene = _look(gaussians.to(torch.float64), cameras.to(torch.float64), options)
    dtype = gaussians.means.dtype
    with torch.no_grad():
        lists, total = _blend(scene, dtype)
    if torch.is_grad_enabled() and gaussians.packed().requires_grad:
        # Only what somebody saw has a gradient.
        used, splat = lists.splat.unique(return_inverse=True)
        center, table = scene.table(used)
        lists = replace(lists, splat=splat)
        pairs = _pair_table(center, table.to(dtype), lists, scene.grid)
        total = Blend.apply(*pairs, lists.start, total)
    return _compose(scene.grid.to_pictures(total), options)


@torch.no_grad()
def _look(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> _Scene:
    """Find what the cameras see."""
    w2c, intrinsics = cameras.w2c, cameras.intrinsics
    size = (cameras.width, cameras.height)
    in_range = meets_ewa if options.mode == "ewa" else meets_ut
    footprint_of = footprint_ewa if options.mode == "ewa" else footprint_ut
    # Most are sorted out by their means alone.
    mean = gaussians.means @ w2c[:, :3, :3].mT + w2c[:, None, :3, 3]
    frame, index = in_range(mean, intrinsics[:, None], size, options).nonzero(as_tuple=True)
    chosen = Gaussians.from_packed(gaussians.packed().index_select(0, index))
    footprint = footprint_of(to_camera_space(chosen, w2c[frame], intrinsics[frame]), size, options)
    seen = footprint.visible.nonzero()[:, 0]
    seen = seen[footprint.depth[seen].argsort()]
    grid = TileGrid(len(cameras), *size)
    found = (frame[seen], index[seen], footprint.at(seen))
    return _Scene(gaussians, w2c, intrinsics, options, grid, *found)


def _blend(
    scene: _Scene, dtype: torch.dtype
) -> tuple[TileLists, Float[Tensor, "tile channel pixel"]]:
    """Lists of the splats that were blended, perhaps a few more; and the sums.

    The splats come a few at a time, nearest first. Once a tile is dark those behind are not even
    listed: where Gaussians are large and opaque these are nearly all of them.
    """
    grid, splats = scene.grid, len(scene.frame)
    device = scene.w2c.device
    canvas = Canvas.empty(grid.tiles, 5, torch.empty(0, dtype=dtype, device=device))
    ends = count_tiles(scene.footprint, grid).cumsum(0)
    pairs = PAIRS_CUDA if device.type == "cuda" else PAIRS_CPU
    first, listed = 0, 0
    found: list[tuple[Tensor, Tensor]] = []
    while first < splats:
        last = max(int(torch.searchsorted(ends, listed + pairs)), first + 1)
        some = torch.arange(first, min(last, splats), device=device)
        first, listed = first + len(some), int(ends[some[-1]])
        part = scene.footprint.at(some)
        lists = intersect_tiles(part, scene.frame[some], grid, canvas.alive)
        if len(lists.splat) > 0:
            used, splat = lists.splat.unique(return_inverse=True)
            found.append((some[lists.splat], lists.tile))
            center, table = scene.table(some[used])
            lists = replace(lists, splat=splat)
            canvas.add(*_pair_table(center, table.to(dtype), lists, grid), lists.start)
        elif not canvas.alive.any():
            break
    if not found:
        none = torch.zeros(0, dtype=torch.long, device=device)
        found = [(none, none)]
    splat, tile = (torch.cat(parts) for parts in zip(*found, strict=True))
    # Stable: within a tile still from front to back.
    tile, order = tile.sort(stable=True)
    return TileLists.of(splat[order], tile, grid), canvas.total


def _splat_table(
    gaussians: Gaussians,
    w2c: Float[Tensor, "splat 4 4"],
    intrinsics: Float[Tensor, "splat 4"],
    index: Int[Tensor, " splat"],
    options: RasterizeOptions,
    size: tuple[int, int],
) -> tuple[Float[Tensor, "splat 2"], Float[Tensor, "splat column"]]:
    """Centres; and rows of features `r g b z 1`, log opacity and the factors of the response."""
    packed = Gaussians.from_packed(gaussians.packed().index_select(0, index))
    splats = to_camera_space(packed, w2c, intrinsics)
    depth = splats.mean[:, 2:]
    if options.mode == "ewa":
        center, *response = response_ewa(splats, size)
    else:
        center, *response = response_ut(splats)
        # The unscented projection passes no gradient, hence neither does its depth.
        depth = depth.detach()
    features = (packed.colors, depth, torch.ones_like(depth))
    return center, torch.cat([*features, packed.opacities.log()[:, None], *response], dim=1)


def _pair_table(
    center: Float[Tensor, "splat 2"],
    table: Float[Tensor, "splat column"],
    lists: TileLists,
    grid: TileGrid,
) -> tuple[Float[Tensor, "pair response"], Float[Tensor, "pair feature"]]:
    """Responses relative to each pair's tile, as blending wants them, and its features."""
    pairs = table.index_select(0, lists.splat)
    # The difference of two positions in a large picture: taken before rounding.
    offset = grid.centers(center.device)[lists.tile] - center.index_select(0, lists.splat)
    x, y = offset.to(pairs.dtype).unbind(-1)
    a, b, d = pairs[:, 6:9].unbind(-1)
    columns = [pairs[:, 5], a, b, a * x + b * y, d, d * y]
    if pairs.shape[1] > 9:
        a, b, c, d, e, f = pairs[:, 9:].unbind(-1)
        columns += [a, b, a * x + b * y + c, d, d * y + e, f]
    return torch.stack(columns, dim=1), pairs[:, :5]


def _compose(sums: Float[Tensor, "frame 5 height width"], options: RasterizeOptions) -> Render:
    """Background behind the colours, depth divided by alpha."""
    color, depth, alpha = sums.split([3, 1, 1], dim=1)
    background = color.new_tensor(options.background)[:, None, None]
    depth = depth / alpha.clamp(min=1e-10) if options.depth else torch.zeros_like(alpha)
    return Render(color + (1 - alpha) * background, alpha, depth)
