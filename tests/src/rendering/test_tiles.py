"""Tile lists against loops."""

import torch

from src.rendering.projection import Footprint
from src.rendering.tiles import TILE, TileGrid, intersect_tiles


def test_lists_are_those_of_a_loop_over_tiles_and_splats() -> None:
    """Would catch a wrong tile number, a missed or an extra tile, and a wrong order."""
    grid = TileGrid(3, 53, 37)
    count = 60
    frame = torch.randint(3, (count,)).sort().values
    center = torch.rand(count, 2, dtype=torch.float64) * 80 - 15
    radius = torch.randint(1, 20, (count, 2)).double()
    depth = torch.rand(count, dtype=torch.float64) + 0.1
    footprint = Footprint(center, radius, depth, torch.ones(count, dtype=torch.bool))
    lists = intersect_tiles(footprint, frame, grid)
    low, high = center - radius, center + radius
    for tile in range(3 * grid.rows * grid.columns):
        picture, rest = divmod(tile, grid.rows * grid.columns)
        row, column = divmod(rest, grid.columns)
        corner = torch.tensor([column, row]) * TILE
        overlaps = ((low < corner + TILE) & (high > corner)).all(dim=1) & (frame == picture)
        expected = overlaps.nonzero()[:, 0]
        expected = expected[depth[expected].argsort()]
        found = lists.splat[lists.start[tile] : lists.start[tile + 1]]
        assert torch.equal(found, expected), f"tile {tile}"
        assert (lists.tile[lists.start[tile] : lists.start[tile + 1]] == tile).all()


def test_pictures_are_put_together_from_tiles() -> None:
    """Would catch rows and columns, frames or channels that are mixed up, and a wrong crop."""
    grid = TileGrid(2, 35, 20)
    centers = grid.centers(torch.device("cpu"))
    offset = torch.arange(TILE) - (TILE - 1) / 2
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    frame = torch.arange(len(centers)) // (grid.rows * grid.columns)
    values = torch.stack(
        [
            centers[:, :1] + x.flatten(),
            centers[:, 1:] + y.flatten(),
            frame[:, None].expand(-1, TILE * TILE),
        ],
        dim=1,
    )
    pictures = grid.to_pictures(values)
    assert pictures.shape == (2, 3, 20, 35)
    assert torch.equal(pictures[1, 0, 7], torch.arange(35, dtype=torch.float64) + 0.5)
    assert torch.equal(pictures[1, 1, :, 9], torch.arange(20, dtype=torch.float64) + 0.5)
    assert (pictures[0, 2] == 0).all() and (pictures[1, 2] == 1).all()
