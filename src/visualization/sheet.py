"""Several pictures or clips in one."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import UInt8
from torch import Tensor


def side_by_side(
    clips: Sequence[UInt8[Tensor, "_ h _ 3"]],
) -> UInt8[Tensor, "frame h _ 3"]:
    """Clips of equal height next to each other, left to right, cut to the shortest."""
    length = min(clip.shape[0] for clip in clips)
    return torch.cat([clip[:length] for clip in clips], dim=2)


def contact_sheet(
    pictures: UInt8[Tensor, "picture h w 3"], columns: int | None = None, gap: int = 4
) -> UInt8[Tensor, "sheet_h sheet_w 3"]:
    """Pictures in rows on white, `gap` pixels apart; by default the sheet is about square."""
    count, height, width, _ = pictures.shape
    assert count > 0, "a contact sheet needs at least one picture, got 0"
    columns = min(columns or math.ceil(math.sqrt(count)), count)
    rows = math.ceil(count / columns)
    size = (rows * (height + gap) - gap, columns * (width + gap) - gap, 3)
    sheet = pictures.new_full(size, 255)
    for index, picture in enumerate(pictures):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet
