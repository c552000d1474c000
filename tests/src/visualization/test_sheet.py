"""Sheets and clips side by side."""

import torch

from src.visualization import contact_sheet, side_by_side


def test_every_picture_has_its_place() -> None:
    """Would catch rows and columns exchanged, or a last row that is lost."""
    pictures = torch.arange(5, dtype=torch.uint8)[:, None, None, None].expand(5, 2, 3, 3)
    sheet = contact_sheet(pictures, columns=3, gap=1)
    assert sheet.shape == (5, 11, 3)
    assert (sheet[0:2, 4:7] == 1).all() and (sheet[3:5, 4:7] == 4).all()
    assert (sheet[2] == 255).all() and (sheet[3:5, 8:] == 255).all()


def test_clips_are_cut_to_the_shortest() -> None:
    """Would catch frames of different times beside each other."""
    first = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 2, 3, 3)
    joined = side_by_side([first, first[:3, :, :2]])
    assert joined.shape == (3, 2, 5, 3)
    assert (joined[2] == 2).all()
