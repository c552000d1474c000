import pytest
import torch
from jaxtyping import Bool
from torch import Tensor

from src.evaluation.hole_filling import fill_nearest, nearest_index


def check(mask: Bool[Tensor, "picture h w"]) -> None:
    """Compare with the distances to all pixels of the mask."""
    width = mask.shape[-1]
    found = nearest_index(mask)
    for picture, source in zip(mask, found, strict=True):
        inside = picture.nonzero()
        for y, x in (~picture).nonzero().tolist():
            index = int(source[y, x])
            chosen = divmod(index, width)
            assert picture[chosen], f"{chosen} is a hole"
            squared = ((inside - torch.tensor([y, x])) ** 2).sum(dim=1).min()
            assert (chosen[0] - y) ** 2 + (chosen[1] - x) ** 2 == squared
        own = torch.arange(picture.numel()).view_as(picture)
        assert torch.equal(source[picture], own[picture])


@pytest.mark.parametrize("share", [0.01, 0.1, 0.6])
def test_nearest_pixels_by_brute_force(share: float) -> None:
    """Would catch city-block distances, a wrong shift, or stopping before the best column."""
    mask = torch.rand(3, 17, 53) < share
    mask[:, 9, 3] = True
    check(mask)


def test_wide_holes() -> None:
    """Would catch a search that stops while one picture of a batch still needs farther columns."""
    mask = torch.zeros(3, 5, 60, dtype=torch.bool)
    mask[0, :, 0], mask[1, 4, 59], mask[2] = True, True, True
    check(mask)


def test_colours_come_from_the_nearest_pixel() -> None:
    """Would catch gathered colours of another picture or channel, and pictures of holes alone."""
    image, mask = torch.rand(2, 2, 3, 4, 9), torch.zeros(2, 2, 4, 9, dtype=torch.bool)
    mask[0, 1, :, :2] = True
    mask[1, 0, 2, 5] = True
    filled = fill_nearest(image, mask)
    assert torch.equal(filled[0, 0], image[0, 0]) and torch.equal(filled[1, 1], image[1, 1])
    assert torch.equal(filled[0, 1, :, :, 2:], image[0, 1, :, :, 1:2].expand(-1, -1, 7))
    assert torch.equal(filled[1, 0], image[1, 0, :, 2, 5][:, None, None].expand(3, 4, 9))
