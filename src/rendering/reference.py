"""The pure-torch twin of the CUDA rasteriser: same rules, same signature, every device.

Projection runs in float64, so that what remains of a difference to the CUDA kernels is their own
rounding; blending runs in the Gaussians' type.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..gaussians import Gaussians
from ..geometry.cameras import Cameras
from .blending import Blend
from .options import RasterizeOptions
from .projection import to_camera_space
from .projection_ewa import footprint_ewa, response_ewa
from .projection_ut import footprint_ut, response_ut
from .render import Render
from .tiles import TileGrid, TileLists, intersect_tiles

# Frames x Gaussians of one pass; more frames are rendered in several passes.
SPLATS_PER_PASS = 2**16


def rasterize_torch(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> Render:
    """Render the Gaussians for every camera; differentiable in all of their parameters."""
    frames = max(1, SPLATS_PER_PASS // max(1, len(gaussians)))
    passes = [
        _render(gaussians, cameras[first : first + frames], options)
        for first in range(0, len(cameras), frames)
    ]
    return Render(
        torch.cat([part.color for part in passes]),
        torch.cat([part.alpha for part in passes]),
        torch.cat([part.depth for part in passes]),
    )


def _render(gaussians: Gaussians, cameras: Cameras, options: RasterizeOptions) -> Render:
    """All frames in one pass."""
    dtype, size = gaussians.means.dtype, (cameras.width, cameras.height)
    exact = gaussians.to(torch.float64)
    cameras = cameras.to(torch.float64)
    w2c, intrinsics = cameras.w2c, cameras.intrinsics
    footprint_of = footprint_ewa if options.mode == "ewa" else footprint_ut
    with torch.no_grad():
        everything = to_camera_space(exact, w2c[:, None], intrinsics[:, None])
        footprint = footprint_of(everything, size, options)
        frame, index = footprint.visible.nonzero(as_tuple=True)
        visible = replace(
            footprint,
            center=footprint.center[frame, index],
            radius=footprint.radius[frame, index],
            depth=footprint.depth[frame, index],
            visible=footprint.visible[frame, index],
        )
        grid = TileGrid(len(cameras), *size)
        lists = intersect_tiles(visible, frame, grid)
    center, table = _splat_table(exact, w2c[frame], intrinsics[frame], index, options, size)
    response, features = _pair_table(center, table.to(dtype), lists, grid)
    sums = grid.to_pictures(Blend.apply(response, features, lists.start))
    return _compose(sums, options)


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
