"""Photographs and videos to evaluate a tokenizer on, as RGB uint8 `[3, frame, h, w]`."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from src.geometry.fit import cover_size, cut_middle
from src.io.image import find_images, read_image
from src.io.video.video import read_video
from src.runtime import InputError

# Sides of a photograph over those of the window that slides over it.
ROOM = 1.25


def cover(picture: UInt8[Tensor, "h w 3"], size: tuple[int, int]) -> UInt8[Tensor, "h_out w_out 3"]:
    """The whole picture, resized so that it just covers `size` (height, width)."""
    from PIL import Image

    rows, columns = cover_size(picture.shape[0], picture.shape[1], size)
    # Lanczos, unlike `Fit.resize`, keeps the recorded figures comparable.
    resized = Image.fromarray(picture.numpy()).resize((columns, rows), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(resized))


def sliding_window(
    photograph: UInt8[Tensor, "h w 3"], size: tuple[int, int], frames: int = 17
) -> UInt8[Tensor, "3 {frames} rows columns"]:
    """A window of `size` that slides from the top left to the bottom right of a photograph."""
    rows, columns = size
    large = cover(photograph, (round(rows * ROOM), round(columns * ROOM)))
    spare_y, spare_x = large.shape[0] - rows, large.shape[1] - columns
    shown = []
    for index in range(frames):
        share = index / max(frames - 1, 1)
        y, x = int(spare_y * share), int(spare_x * share)
        shown.append(large[y : y + rows, x : x + columns])
    return torch.stack(shown).movedim(-1, 0)


def middle_of(
    pictures: list[UInt8[Tensor, "_ _ 3"]], size: tuple[int, int]
) -> UInt8[Tensor, "3 frame rows columns"]:
    """Pictures that cover `size`, cropped in the middle."""
    shown = [cut_middle(cover(picture, size).movedim(-1, 0), size) for picture in pictures]
    return torch.stack(shown, dim=1)


def read_footage(
    path: Path, size: tuple[int, int], frames: int = 17, stride: int = 1
) -> UInt8[Tensor, "3 {frames} rows columns"]:
    """Every `stride`-th of the first frames of a video or a folder of pictures.

    Raises `InputError` for unreadable footage, or too few frames.
    """
    wanted = range(0, frames * stride, stride)
    if not path.is_dir():
        return middle_of([*read_video(path, wanted)], size)
    files = find_images(path)[: wanted[-1] + 1 : stride]
    if len(files) < frames:
        raise InputError(path, f"{len(files)} pictures", f"{frames}, each number {stride} of them")
    return middle_of([read_image(file) for file in files], size)
