"""What is on a scene's sheet, and what becomes of inputs that are no longer there."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from src.io.video.video import write_video
from src.reconstruct.pictures import (
    WIDEST,
    RenderedTrajectory,
    ends_and_middle,
    read_input,
    scene_sheet,
)

HEIGHT, WIDTH, GAP = 20, 30, 4


def rendered(position: int, frames: int = 5, width: int = WIDTH) -> RenderedTrajectory:
    """A trajectory whose frame i is of brightness 10 (i + 1) + 100 position."""
    levels = 10 * torch.arange(1, frames + 1) + 100 * position
    color = levels.to(torch.uint8)[:, None, None, None].expand(frames, HEIGHT, width, 3)
    places = position * frames + torch.arange(frames)
    depth = torch.linspace(1, 2, width).expand(frames, HEIGHT, width)
    return RenderedTrajectory(position, places, color.contiguous(), depth)


def cell(sheet: torch.Tensor, row: int, column: int) -> torch.Tensor:
    top, left = row * (HEIGHT + GAP), column * (WIDTH + GAP)
    return sheet[top : top + HEIGHT, left : left + WIDTH]


def test_rows_and_columns() -> None:
    """Trajectories or frames out of order, or clips beside the rendering of another one."""
    reference = torch.arange(10, dtype=torch.uint8)[:, None, None, None].repeat(1, HEIGHT, WIDTH, 3)
    source = [torch.full((40, 60, 3), 77, dtype=torch.uint8)]
    sheet = scene_sheet(source, [rendered(0), rendered(1)], reference)
    assert sheet.shape == (3 * (HEIGHT + GAP) - GAP, 9 * (WIDTH + GAP) - GAP, 3)
    assert (cell(sheet, 0, 0) == 77).all() and (cell(sheet, 0, 1) == 255).all()
    for position in (0, 1):
        for column, frame in enumerate((0, 2, 4)):
            assert (cell(sheet, position + 1, column) == 5 * position + frame).all()
            level = 10 * (frame + 1) + 100 * position
            assert (cell(sheet, position + 1, column + 3) == level).all()
    # Near is red, far is blue.
    red, _, blue = cell(sheet, 1, 6)[0].float().T
    assert red[0] > blue[0] and blue[-1] > red[-1]


def test_without_input_and_reference_there_are_renderings_alone() -> None:
    """Empty cells for what is unknown."""
    sheet = scene_sheet([], [rendered(0)], None)
    assert sheet.shape == (HEIGHT, 6 * (WIDTH + GAP) - GAP, 3)


def test_wide_pictures_are_reduced() -> None:
    """A sheet of a hundred million pixels."""
    sheet = scene_sheet([], [rendered(0, width=4 * WIDEST)], None)
    assert sheet.shape == (HEIGHT // 4, 6 * (WIDEST + GAP) - GAP, 3)
    assert (sheet[:, :WIDEST] == 10).all()


@pytest.mark.parametrize(("count", "places"), [(1, [0, 0, 0]), (2, [0, 0, 1]), (17, [0, 8, 16])])
def test_ends_and_middle(count: int, places: list[int]) -> None:
    """A place beyond the end of a short clip."""
    assert ends_and_middle(count) == places


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".MOV"])
def test_the_input_is_read_from_where_the_clip_says(tmp_path: Path, suffix: str) -> None:
    """A sheet that needs the input, or shows frames of a video that no clip begins with."""
    assert read_input({}, 5) == []
    assert read_input({"input": str(tmp_path / "gone.png")}, 5) == []
    assert read_input({"input": str(tmp_path)}, 5) == []
    path = tmp_path / "photo.png"
    Image.new("RGB", (8, 6), (1, 2, 3)).save(path)
    (picture,) = read_input({"input": str(path)}, 5)
    assert picture.shape == (6, 8, 3) and picture[0, 0].tolist() == [1, 2, 3]
    levels = (25 * torch.arange(8)).to(torch.uint8)[:, None, None, None]
    write_video(tmp_path / "film.mp4", levels.repeat(1, 32, 32, 3), 24)
    # Some phones call such a file by another name.
    film = (tmp_path / "film.mp4").rename(tmp_path / f"film{suffix}")
    meta = {"input": str(film), "settings": {"start": 4}}
    shown = [float(picture.float().mean()) for picture in read_input(meta, 5)]
    # Frames 4, 6 and, beyond the end of the film, its last one.
    assert shown == pytest.approx([100, 150, 175], abs=6)
