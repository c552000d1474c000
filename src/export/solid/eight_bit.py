"""A model of a web viewer: Gaussians are blended from back to front into 8 bits a channel.

The viewer is PlayCanvas' (SuperSplat): 2D Gaussians of the EWA projection end after sqrt(8)
standard deviations, where they reach 0; fragments of alpha < 1/255 are dropped; the picture is
rounded after each Gaussian. PlayCanvas also stores Gaussians in fewer bits, which is left out.
"""

import math
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ...gaussians import Gaussians
from ...geometry.cameras import Cameras
from ...rendering.options import RasterizeOptions
from ...rendering.projection import ALPHA_MIN, footprint_ewa, response_ewa, to_camera_space
from ...rendering.tiles import TILE, TileGrid, TileLists, intersect_tiles
from ...runtime import core_pool

OPTIONS = RasterizeOptions(mode="ewa")
# The response where a Gaussian ends, which is subtracted from it.
EDGE = math.exp(-4)
LEVELS = 255


def render_eight_bit(
    gaussians: Gaussians, cameras: Cameras
) -> Float[Tensor, "frame 3 height width"]:
    """Returns the pictures of an 8-bit viewer on white, in steps of 1/255."""
    singles = [cameras[index : index + 1] for index in range(len(cameras))]
    with core_pool(gaussians.device) as pool:
        return torch.cat(list(pool.map(partial(_frame, gaussians), singles)))


@torch.no_grad()
def _frame(gaussians: Gaussians, camera: Cameras) -> Float[Tensor, "1 3 height width"]:
    exact, camera = gaussians.to(torch.float64), camera.to(torch.float64)
    size, grid = (camera.width, camera.height), TileGrid(1, camera.width, camera.height)
    view = (camera.w2c[0], camera.intrinsics[0])
    footprint = footprint_ewa(to_camera_space(exact, *view), size, OPTIONS)
    seen = footprint.visible.nonzero()[:, 0]
    lists = intersect_tiles(footprint.at(seen), torch.zeros_like(seen), grid)
    chosen = exact.map(lambda part: part[seen])
    center, factors = response_ewa(to_camera_space(chosen, *view), size)
    offset = grid.centers(seen.device)[lists.tile] - center[lists.splat]
    x, y = offset.unbind(-1)
    a, b, d = factors[lists.splat].unbind(-1)
    response = torch.stack([a, b, a * x + b * y, d, d * y], dim=1).float()
    return grid.to_pictures(_blend(response, chosen.to(torch.float32), lists, tiles=grid.tiles))


def _blend(
    response: Float[Tensor, "pair 5"], gaussians: Gaussians, lists: TileLists, tiles: int
) -> Float[Tensor, "tile 3 pixel"]:
    """Blends the lists of all tiles, one Gaussian of each at a time, from their ends."""
    counts, order = lists.start.diff().sort(descending=True, stable=True)
    ends = lists.start[1:][order]
    picture = response.new_ones(tiles, 3, TILE * TILE)
    colors = gaussians.colors.clamp(0, 1)[:, :, None]
    for step in range(int(counts.max())):
        # The longest lists come first, so that those that go on are the first ones.
        going_on = int((counts > step).sum())
        pair = ends[:going_on] - 1 - step
        splat = lists.splat[pair]
        alpha = _alpha(response[pair], gaussians.opacities[splat])[:, None]
        behind = picture[:going_on]
        blended = behind + (colors[splat] - behind) * alpha
        picture[:going_on] = (blended * LEVELS).round() / LEVELS
    return picture[_inverse(order)]


def _alpha(
    response: Float[Tensor, "tile 5"], opacity: Float[Tensor, " tile"]
) -> Float[Tensor, "tile pixel"]:
    a, b, c, d, e = response[:, :, None, None].unbind(1)
    axis = torch.arange(TILE, device=response.device) - (TILE - 1) / 2
    power = (a * axis + b * axis[:, None] + c).square() + (d * axis[:, None] + e).square()
    share = (torch.exp(-power.flatten(1)) - EDGE) / (1 - EDGE)
    return torch.threshold(opacity[:, None] * share, ALPHA_MIN, 0.0)


def _inverse(order: Int[Tensor, " tile"]) -> Int[Tensor, " tile"]:
    return torch.empty_like(order).scatter_(0, order, torch.arange(len(order), device=order.device))
