"""Pictures: any common image file as uint8 RGB [h, w, 3], upright, in sRGB, not transparent."""

import math
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ...runtime import InputError
from ..atomic import atomic_path
from ..lfs import lfs_pointer
from .color_profile import in_srgb
from .transparency import on_white

if TYPE_CHECKING:
    from PIL.Image import Image

EXPECTED = "a readable picture (jpg, png, webp, avif, tiff, bmp or heic)"
# For the environment that is at work, which need not be that of the shell.
HEIC_EXPECTED = f"the extra `heic`: {sys.executable} -m pip install pillow-heif"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# Telephones take 200 megapixels. Pillow's own limit is lower, and a warning below that.
MOST_PIXELS = 220_000_000
# Larger pictures are reduced: the generator's have less than a megapixel.
KEPT_PIXELS = 50_000_000
# What Pillow's decoders and its EXIF reader raise on damaged files.
DAMAGES = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    ZeroDivisionError,
    RuntimeError,
    NotImplementedError,
    MemoryError,
    struct.error,
)


def read_image(path: Path | str) -> UInt8[Tensor, "h w 3"]:
    """The picture in a file, turned upright (EXIF), composited on white where transparent.

    Grey, palette, CMYK and 16-bit pictures become 8-bit RGB; of an animation the first frame is
    read. Colours of an embedded profile become sRGB. The content decides the format, not the
    suffix. Pictures of more than 50 megapixels are reduced by a whole factor.

    Raises:
        InputError: no such file, an empty, truncated or unreadable one, more than 220 megapixels,
            a HEIC picture without the extra that reads it.
    """
    from PIL import Image, ImageOps

    path = Path(path)
    _check_file(path)
    try:
        if _is_heic(path):
            _register_heic(path)
        with _own_limit(), Image.open(path) as picture:
            reduced = _reduced(path, picture)
            return torch.from_numpy(_to_rgb(in_srgb(path, ImageOps.exif_transpose(reduced))))
    except InputError:
        raise
    except (*DAMAGES, Image.DecompressionBombError) as error:
        raise InputError(path, f"unreadable ({error})", EXPECTED) from error


def write_png(path: Path, picture: UInt8[Tensor, "h w 3"]) -> None:
    """Write a picture as a PNG, whole or not at all; `UnwritableError` if the disk refuses."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(picture.cpu().numpy()).save(temporary, "PNG")


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width of a picture as it is stored, from its header alone.

    Raises:
        InputError: no such file, an empty one, or one without a picture's header; too many pixels;
            a HEIC picture without the extra that reads it.
    """
    from PIL import Image

    path = Path(path)
    _check_file(path)
    try:
        if _is_heic(path):
            _register_heic(path)
        with _own_limit(), Image.open(path) as picture:
            return picture.height, picture.width
    except InputError:
        raise
    except (*DAMAGES, Image.DecompressionBombError) as error:
        raise InputError(path, f"unreadable ({error})", EXPECTED) from error


def can_read_heic() -> bool:
    """Whether the extra `heic` is installed."""
    return find_spec("pillow_heif") is not None


def _check_file(path: Path) -> None:
    if not path.is_file():
        missing = "a link to nowhere" if path.is_symlink() else "no such file"
        raise InputError(path, "a folder" if path.is_dir() else missing, EXPECTED)
    if path.stat().st_size == 0:
        raise InputError(path, "an empty file", EXPECTED)
    if pointer := lfs_pointer(path):
        raise InputError(path, pointer, EXPECTED)


def _is_heic(path: Path) -> bool:
    """Whether a file is HEIC by its first bytes."""
    with path.open("rb") as file:
        head = file.read(32)
    # Every other brand that AVIF has may stand beside `mif1`.
    return head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS and b"avif" not in head


def _register_heic(path: Path) -> None:
    if not can_read_heic():
        raise InputError(path, "a HEIC picture", HEIC_EXPECTED)
    import pillow_heif

    pillow_heif.register_heif_opener()


@contextmanager
def _own_limit() -> Iterator[None]:
    """Take Pillow's limit away; `_reduced` has one of its own."""
    from PIL import Image

    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _reduced(path: Path, picture: "Image") -> "Image":
    """The picture, by a whole factor smaller where it is very large."""
    from PIL import Image

    pixels = picture.width * picture.height
    if pixels > MOST_PIXELS:
        value = f"{picture.width}x{picture.height} pixels"
        raise InputError(path, value, f"at most {MOST_PIXELS // 10**6} megapixels")
    factor = math.ceil(math.sqrt(pixels / KEPT_PIXELS))
    if factor <= 1:
        return picture
    size = (picture.width // factor, picture.height // factor)
    # JPEG is decoded at half the size, a quarter or an eighth; other formats ignore this.
    picture.draft(None, size)
    factor = math.ceil(math.sqrt(picture.width * picture.height / KEPT_PIXELS))
    if factor <= 1:
        return picture
    if picture.mode in ("RGB", "L", "CMYK", "YCbCr"):
        smaller = picture.reduce(factor)
    else:
        # A mean of palette numbers is no colour, and others would take a copy of full size.
        smaller = picture.resize(size, Image.Resampling.NEAREST)
    smaller.info = picture.info
    return smaller


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
    return on_white(np.array(picture.convert("RGBA")))
