"""Folders of random frames to compare."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image

SaveFrames = Callable[[Path, torch.Tensor], Path]


@pytest.fixture
def save_frames() -> SaveFrames:
    """A function that writes uint8 frames losslessly, as a folder of pictures 0.png, 1.png, ..."""

    def save(folder: Path, frames: torch.Tensor) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for index, frame in enumerate(frames):
            Image.fromarray(frame.numpy()).save(folder / f"{index}.png")
        return folder

    return save
