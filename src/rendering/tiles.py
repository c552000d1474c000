"""Lists of the Gaussians that meet each tile, front to back.

Pictures are cut into tiles of 16 x 16 pixels, numbered row by row and frame by frame. A `splat` is
one visible Gaussian of one frame, a `pair` one splat in one tile.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .projection import Footprint

TILE = 16


@dataclass(frozen=True)
class TileGrid:
    """The tiles of `frames` pictures of one size; the last ones may stick out."""

    frames: int
    width: int
    height: int

    @property
    def columns(self) -> int:
        """Tiles side by side."""
        return -(-self.width // TILE)

    @property
    def rows(self) -> int:
        """Tiles above each other."""
        return -(-self.height // TILE)

    @property
    def tiles(self) -> int:
        """Tiles of all frames."""
        return self.frames * self.rows * self.columns

    def centers(self, device: torch.device) -> Float[Tensor, "tile 2"]:
        """Pixel coordinates (x, y) of the tiles' centres."""
        y = torch.arange(self.rows, device=device, dtype=torch.float64)
        x = torch.arange(self.columns, device=device, dtype=torch.float64)
        one = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1).flatten(0, 1)
        return (one.repeat(self.frames, 1) + 0.5) * TILE

    def to_pictures(
        self, tiles: Float[Tensor, "tile channel pixel"]
    ) -> Float[Tensor, "frame channel height width"]:
        """Pictures of the pixels of all tiles, cropped."""
        channels = tiles.shape[1]
        blocks = tiles.reshape(self.frames, self.rows, self.columns, channels, TILE, TILE)
        pictures = blocks.permute(0, 3, 1, 4, 2, 5)
        size = (self.frames, channels, self.rows * TILE, self.columns * TILE)
        return pictures.reshape(size)[..., : self.height, : self.width]


@dataclass(frozen=True)
class TileLists:
    """The splats of each tile from front to back: `splat[start[t]:start[t + 1]]`."""

    splat: Int[Tensor, " pair"]
    tile: Int[Tensor, " pair"]
    start: Int[Tensor, " boundary"]

    @staticmethod
    def of(splat: Int[Tensor, " pair"], tile: Int[Tensor, " pair"], grid: TileGrid) -> "TileLists":
        """The lists of pairs that are sorted by tile."""
        boundaries = torch.arange(grid.tiles + 1, device=tile.device)
        return TileLists(splat, tile, torch.searchsorted(tile, boundaries))


def _boxes(
    footprint: Footprint, grid: TileGrid
) -> tuple[Int[Tensor, "splat 2"], Int[Tensor, "splat 2"]]:
    """First tile (column, row) and number of tiles of each box, cut to the picture."""
    limit = torch.tensor([grid.columns, grid.rows], device=footprint.depth.device)
    first = ((footprint.center - footprint.radius) / TILE).floor().long()
    last = ((footprint.center + footprint.radius) / TILE).ceil().long()
    first, last = first.clamp(min=0).minimum(limit), last.clamp(min=0).minimum(limit)
    return first, last - first


def count_tiles(footprint: Footprint, grid: TileGrid) -> Int[Tensor, " splat"]:
    """The number of tiles that the box of each splat overlaps."""
    return _boxes(footprint, grid)[1].prod(dim=-1)


def intersect_tiles(
    footprint: Footprint,
    frame: Int[Tensor, " splat"],
    grid: TileGrid,
    alive: Bool[Tensor, " tile"] | None = None,
) -> TileLists:
    """The splats whose boxes overlap each tile, by float32 depth; none in tiles not `alive`."""
    first, extent = _boxes(footprint, grid)
    counts = extent.prod(dim=-1)
    # Each splat once for each tile of its box; `local` numbers the tiles of a box.
    splat = torch.repeat_interleave(counts)
    local = torch.arange(len(splat), device=splat.device) - (counts.cumsum(0) - counts)[splat]
    columns = extent[splat, 0]
    row = torch.div(local, columns, rounding_mode="floor")
    column = local - row * columns + first[splat, 0]
    tile = (frame[splat] * grid.rows + row + first[splat, 1]) * grid.columns + column
    if alive is not None:
        kept = alive[tile]
        splat, tile = splat[kept], tile[kept]
    # The bits of positive floats sort like the floats.
    bits = footprint.depth.float().view(torch.int32).long()
    key, order = torch.sort((tile << 32) | bits[splat])
    return TileLists.of(splat[order], key >> 32, grid)
