"""Lists of the splats of each tile, nearest first, as gsplat makes them; faster for many splats.

gsplat sorts every pair of a splat and a tile by a key of 64 bits, tile and depth. Here the splats
of a frame are sorted by depth, then their pairs, in this order, by a tile of 16 bits. Both sorts
are stable, so the lists are the same: equally deep splats stay in the order of the Gaussians.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from .tiles import TILE

# Tile numbers have 16 bits.
MOST_TILES = 2**15 - 1
# Frames of fewer splats are faster together, in gsplat's own kernels.
LEAST_SPLATS = 2**19
# Lists have a multiple of this number of entries.
PADDING = 2**22


def is_worthwhile(splats: int, tiles: int) -> bool:
    """Whether `bin_splats` is the faster way for frames of so many splats and tiles."""
    return splats >= LEAST_SPLATS and tiles <= MOST_TILES


def bin_splats(
    center: Float[Tensor, "*frame splat 2"],
    radius: Int[Tensor, "*frame splat 2"],
    depth: Float[Tensor, "*frame splat"],
    grid: tuple[int, int],
) -> tuple[Int[Tensor, " pair"], Int[Tensor, "*frame row column"]]:
    """Returns the splats of all tiles in a row, and where each tile's list starts; both int32.

    Args:
        center: of the splats' boxes in pixels.
        radius: half sides of the boxes in whole pixels; splats with a 0 are left out.
        depth: positive; the nearest splats come first.
        grid: rows and columns of tiles.
    """
    rows, columns = grid
    splats, shape = depth.shape[-1], depth.shape[:-1]
    frames = zip(center.flatten(0, -3), radius.flatten(0, -3), depth.flatten(0, -2), strict=True)
    lists, starts, total = [], [], 0
    for number, frame in enumerate(frames):
        ids, start = _bin_frame(*frame, rows=rows, columns=columns)
        lists.append(ids.add_(number * splats))
        starts.append(start + total)
        total += len(ids)
    assert total < 2**31, f"{total} pairs of splats and tiles do not fit into 32 bits"
    joined = lists[0].new_empty(_padded(total))[:total]
    return torch.cat(lists, out=joined), torch.stack(starts).reshape(*shape, rows, columns)


def _padded(count: int) -> int:
    """The next multiple of `PADDING` above a count.

    The number of pairs changes with every camera. With as many sizes, memory that torch keeps would
    never fit again, and the driver is asked for new memory in every frame.
    """
    return (count // PADDING + 1) * PADDING


def _bin_frame(
    center: Float[Tensor, "splat 2"],
    radius: Int[Tensor, "splat 2"],
    depth: Float[Tensor, " splat"],
    rows: int,
    columns: int,
) -> tuple[Int[Tensor, " pair"], Int[Tensor, " tile"]]:
    limit, tiles = center.new_tensor([columns, rows]), rows * columns
    first = ((center - radius) / TILE).floor().clamp(min=0).minimum(limit)
    last = ((center + radius) / TILE).ceil().clamp(min=0).minimum(limit)
    # The kernels leave the values of invisible splats undefined.
    shown = (radius > 0).all(dim=-1)
    order = torch.where(shown, depth, torch.inf).sort(stable=True).indices
    extent = torch.where(shown[:, None], last - first, 0).int()[order]
    first = torch.where(shown[:, None], first, 0).int()[order]
    # A last splat stands for the padding, whose tile lies behind all others.
    order, extent = F.pad(order.int(), (0, 1)), F.pad(extent, (0, 0, 0, 1))
    corner = F.pad(first[:, 1] * columns + first[:, 0], (0, 1))
    width, height = extent.unbind(dim=-1)
    # The only values that the CPU waits for.
    strips, pairs = torch.stack([height.sum(), (width * height).sum()]).tolist()
    # A strip is a row of a box: tiles side by side.
    height[-1] = _padded(strips) - strips
    splat, row = _expanded(height, _padded(strips))
    start = corner.index_select(0, splat) + row * columns
    start[strips:] = tiles
    widths = width.index_select(0, splat)
    widths[-1] = _padded(pairs) - pairs
    strip, column = _expanded(widths, _padded(pairs))
    tile = (start.index_select(0, strip) + column).clamp_(max=tiles)
    tile, turn = tile.to(torch.int16).sort(stable=True)
    ids = order.index_select(0, splat).index_select(0, strip.index_select(0, turn))
    numbers = torch.arange(tiles, dtype=torch.int16, device=depth.device)
    return ids[:pairs], torch.searchsorted(tile, numbers, out_int32=True)


def _expanded(
    counts: Int[Tensor, " item"], total: int
) -> tuple[Int[Tensor, " copy"], Int[Tensor, " copy"]]:
    """Repeats each item `counts` times: the item of each copy, and the copy's number; both int32.

    `total` is the sum of the counts, which the CPU does not ask the device for again.
    """
    item = torch.repeat_interleave(counts, output_size=total)
    before = (counts.cumsum(0) - counts).int()
    number = torch.arange(total, dtype=torch.int32, device=counts.device)
    return item, number - before.index_select(0, item)
