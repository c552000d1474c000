"""Which shape lies on top."""

import torch

from nano.worlds.canvases.composites import scattered
from nano.worlds.canvases.shapes import topmost
from nano.worlds.canvases.textures import Draws


def test_windows_find_what_brute_force_finds() -> None:
    """A window that cuts off a shape, misplaces it, or lets a lower shape win."""
    draws, (height, width) = Draws(torch.tensor([3, 8])), (24, 40)
    shapes = scattered(draws, 60, smallest=0.01, largest=0.8, exponent=0.6)
    top = topmost(shapes, (height, width))
    row = ((torch.arange(height) + 0.5) / height)[:, None].expand(height, width)
    column = ((torch.arange(width) + 0.5) / height).expand(height, width)
    wanted = torch.full((2, height, width), -1)
    for index in range(60):
        for picture in range(2):
            one = shapes[torch.tensor(picture), torch.tensor(index)]
            hit = one.inside(column, row)
            wanted[picture][hit] = index
    assert torch.equal(top, wanted)
    assert len(top.unique()) > 20
