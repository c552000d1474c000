"""The pure-torch twin of the CUDA rasteriser: same rules, same signature, every device.

Projection runs in float64, so that differences to the CUDA kernels are the rounding of those
kernels; blending runs in the Gaussians' type.
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
from .options import RasterizeOptions, Render
from .projection import (
    Footprint,
    footprint_ewa,
    footprint_ut,
    meets_ut,
    response_ewa,
    response_ut,
    to_camera_space,
)
from .tiles import TileGrid, TileLists, count_tiles, intersect_tiles

# Frames x Gaussians of one pass; more frames are rendered in several passes.
SPLATS_PER_PASS = 2**16
# Pairs of splats and tiles that are listed at once.
PAIRS_CPU, PAIRS_CUDA = 2**17, 2**22


def rasterize_torch(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> Render:
    """Render the Gaussians for every camera; differentiable in all their parameters."""
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
    """The passes side by side, one processor core each; without gradients."""
    inference = torch.is_inference_mode_enabled()

    def render(part: Cameras) -> Render:
        """One pass; threads don't inherit the caller's mode."""
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
        """Centres of splats; rows of `r g b z 1`, log opacity and the factors of the response."""
        frame, index = self.frame[splat], self.index[splat]
        packed = Gaussians.from_packed(self.gaussians.packed().index_select(0, index))
        splats = to_camera_space(packed, self.w2c[frame], self.intrinsics[frame])
        depth = splats.mean[:, 2:]
        if self.options.mode == "ewa":
            center, *response = response_ewa(splats, (self.grid.width, self.grid.height))
        else:
            center, *response = response_ut(splats)
            # The unscented projection passes no gradient, so its depth passes none.
            depth = depth.detach()
        features = (packed.colors, depth, torch.ones_like(depth))
        return center, torch.cat([*features, packed.opacities.log()[:, None], *response], dim=1)


def _render(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> Render:
    """All frames in one pass."""
    scene = _look(gaussians.to(torch.float64), cameras.to(torch.float64), options)
    dtype = gaussians.means.dtype
    with torch.no_grad():
        lists, total = _blend(scene, dtype)
    if torch.is_grad_enabled() and gaussians.packed().requires_grad:
        # Only splats that were blended have a gradient.
        used, splat = lists.splat.unique(return_inverse=True)
        center, table = scene.table(used)
        lists = replace(lists, splat=splat)
        response, features = _pair_table(center, table.to(dtype), lists, grid=scene.grid)
        total = Blend.apply(response, features, lists.start, total)
    return _compose(scene.grid.to_pictures(total), options)


@torch.no_grad()
def _look(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> _Scene:
    """Find the splats that the cameras see."""
    w2c, intrinsics = cameras.w2c, cameras.intrinsics
    size = (cameras.width, cameras.height)
    # The means alone sort out most; the margins are for their rounding.
    mean = gaussians.means @ w2c[:, :3, :3].mT + w2c[:, None, :3, 3]
    depth = mean[..., 2]
    possible = (depth > 0.999 * options.near) & (depth < 1.001 * options.far)
    footprint_of = footprint_ewa
    if options.mode == "3dgut":
        possible &= meets_ut(mean, intrinsics[:, None], size)
        footprint_of = footprint_ut
    frame, index = possible.nonzero(as_tuple=True)
    chosen = Gaussians.from_packed(gaussians.packed().index_select(0, index))
    footprint = footprint_of(to_camera_space(chosen, w2c[frame], intrinsics[frame]), size, options)
    seen = footprint.visible.nonzero()[:, 0]
    seen = seen[footprint.depth[seen].argsort()]
    return _Scene(
        gaussians=gaussians,
        w2c=w2c,
        intrinsics=intrinsics,
        options=options,
        grid=TileGrid(len(cameras), cameras.width, cameras.height),
        frame=frame[seen],
        index=index[seen],
        footprint=footprint.at(seen),
    )


def _blend(
    scene: _Scene, dtype: torch.dtype
) -> tuple[TileLists, Float[Tensor, "tile channel pixel"]]:
    """Lists of the splats that were blended, perhaps a few more; and the sums.

    Splats are listed a few at a time, nearest first, and only in tiles that are not yet opaque:
    where Gaussians are large and opaque, most splats are never listed.
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
        lists = intersect_tiles(part, scene.frame[some], grid, alive=canvas.alive)
        if len(lists.splat) > 0:
            used, splat = lists.splat.unique(return_inverse=True)
            found.append((some[lists.splat], lists.tile))
            center, table = scene.table(some[used])
            lists = replace(lists, splat=splat)
            response, features = _pair_table(center, table.to(dtype), lists, grid=grid)
            canvas.add(response, features, lists.start)
        elif not canvas.alive.any():
            break
    if not found:
        none = torch.zeros(0, dtype=torch.long, device=device)
        found = [(none, none)]
    splat, tile = (torch.cat(parts) for parts in zip(*found, strict=True))
    # Stable: within a tile still from front to back.
    tile, order = tile.sort(stable=True)
    return TileLists.of(splat[order], tile, grid), canvas.total


def _pair_table(
    center: Float[Tensor, "splat 2"],
    table: Float[Tensor, "splat column"],
    lists: TileLists,
    grid: TileGrid,
) -> tuple[Float[Tensor, "pair response"], Float[Tensor, "pair feature"]]:
    """Responses relative to each pair's tile, as columns for `blending.py`, and features."""
    pairs = table.index_select(0, lists.splat)
    # Subtracted before rounding: both positions may be large.
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
