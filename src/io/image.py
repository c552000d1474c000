"""Pictures: any common image file as uint8 RGB [h, w, 3], upright, without transparency."""

import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ..runtime import InputError

if TYPE_CHECKING:
    from PIL.Image import Image

# What is taken from a folder; a file that is named may have any suffix.
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".bmp", ".tif", ".tiff")
EXPECTED = "a readable picture (jpg, png, webp, avif, bmp or tiff)"
# What Pillow's decoders and its EXIF reader raise on damaged files.
DAMAGES = (OSError, EOFError, SyntaxError, ValueError, struct.error)


def read_image(path: Path | str) -> UInt8[Tensor, "h w 3"]:
    """The picture in a file, turned upright (EXIF), composited on white where transparent.

    Grey, palette, CMYK and 16-bit pictures become 8-bit RGB; of an animation the first frame is
    read. The content decides the format, not the suffix.

    Raises:
        InputError: no such file, an empty, truncated or unreadable one, or more pixels than Pillow
            takes for honest (179 million).
    """
    from PIL import Image, ImageOps

    path = Path(path)
    _check_file(path)
    try:
        with Image.open(path) as picture:
            return torch.from_numpy(_to_rgb(ImageOps.exif_transpose(picture)))
    except (*DAMAGES, Image.DecompressionBombError) as error:
        raise InputError(path, f"unreadable ({error})", EXPECTED) from error


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width of a picture as it is stored, from its header alone.

    Raises:
        InputError: no such file, an empty one, or one without a picture's header.
    """
    from PIL import Image

    path = Path(path)
    _check_file(path)
    try:
        with Image.open(path) as picture:
            return picture.height, picture.width
    except (*DAMAGES, Image.DecompressionBombError) as error:
        raise InputError(path, f"unreadable ({error})", EXPECTED) from error


def find_images(folder: Path | str) -> list[Path]:
    """The image files directly in `folder`, by name; their suffix may be in any case.

    Raises `InputError` where there is no such folder or no image in it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a folder of pictures")
    found = [
        path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith(".")
    ]
    if not found:
        raise InputError(folder, "no pictures", f"files that end with {', '.join(SUFFIXES)}")
    return found


def _check_file(path: Path) -> None:
    if not path.is_file():
        raise InputError(path, "no such file", EXPECTED)
    if path.stat().st_size == 0:
        raise InputError(path, "an empty file", EXPECTED)


def _to_rgb(picture: "Image") -> UInt8[np.ndarray, "h w 3"]:
    """8-bit RGB of a picture in any of Pillow's modes; `ValueError` for floating-point pixels."""
    if picture.mode == "F":
        raise ValueError("floating-point pixels")
    if picture.mode.startswith("I"):
        # 16 bits, whose high byte Pillow itself keeps of colour pictures.
        grey = (np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if not picture.has_transparency_data:
        return np.array(picture.convert("RGB"))
    rgba = np.array(picture.convert("RGBA"))
    alpha, rgb = rgba[..., 3:].astype(np.uint16), rgba[..., :3].astype(np.uint16)
    # Truncated and not rounded, as published.
    return ((rgb * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
