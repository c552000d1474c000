"""Clips of photographs and videos that a tokenizer is measured on."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from nano.evaluation.footage import cover, middle_of, read_footage, sliding_window
from src.runtime import InputError


def test_the_window_goes_from_corner_to_corner() -> None:
    """Rows for columns, a window that stops early, or a photograph reduced too much."""
    # At 1.25 of the size already: nothing is resized.
    photograph = torch.randint(0, 256, (20, 40, 3), dtype=torch.uint8)
    clip = sliding_window(photograph, (16, 32), frames=5)
    assert clip.shape == (3, 5, 16, 32)
    assert torch.equal(clip[:, 0], photograph[:16, :32].movedim(-1, 0))
    assert torch.equal(clip[:, 2], photograph[2:18, 4:36].movedim(-1, 0))
    assert torch.equal(clip[:, 4], photograph[4:, 8:].movedim(-1, 0))


def test_pictures_of_any_shape_are_covered() -> None:
    """A picture that is one pixel too small after rounding, or cut."""
    for height, width in ((33, 100), (100, 33), (17, 31), (250, 251)):
        picture = torch.zeros(height, width, 3, dtype=torch.uint8)
        rows, columns = cover(picture, (16, 32)).shape[:2]
        assert rows >= 16 and columns >= 32 and (rows == 16 or columns == 32)
        assert middle_of([picture], (16, 32)).shape == (3, 1, 16, 32)


def test_footage_is_every_second_picture(tmp_path: Path) -> None:
    """A stride that is left out, or too few pictures that pass unseen."""
    for index in range(9):
        Image.new("RGB", (32, 16), (10 * index,) * 3).save(tmp_path / f"{index}.png")
    clip = read_footage(tmp_path, (16, 32), frames=5, stride=2)
    assert clip[0, :, 8, 8].tolist() == [0, 20, 40, 60, 80]
    with pytest.raises(InputError, match="9 pictures"):
        read_footage(tmp_path, (16, 32), frames=17)
