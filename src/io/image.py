"""Pictures: any common image file as uint8 RGB [h, w, 3], upright, in sRGB, not transparent."""

import math
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ..runtime import InputError, get_logger
from .color_profile import in_srgb
from .suffixes import HEIC_SUFFIXES, PICTURE_SUFFIXES, is_picture, is_video, listed
from .transparency import on_white

if TYPE_CHECKING:
    from PIL.Image import Image

LOGGER = get_logger(__name__)
EXPECTED = "a readable picture (jpg, png, webp, avif, tiff, bmp or heic)"
HEIC_EXPECTED = "the extra `heic`: pip install pillow-heif"
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
    if not path.is_file():
        raise InputError(path, "no such file", EXPECTED)
    if path.stat().st_size == 0:
        raise InputError(path, "an empty file", EXPECTED)
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


def find_images(folder: Path | str) -> list[Path]:
    """The image files directly in `folder`, by name; their suffix may be in any case.

    What is left out is logged. Raises `InputError` where there is no such folder, or no image in it
    that can be read.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(folder, "no such folder", "a folder of pictures")
    files = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    pictures = [path for path in files if is_picture(path) and path.is_file()]
    found = [path for path in pictures if _can_read_heic() or not _has_heic_suffix(path)]
    if not found and pictures:
        raise InputError(folder, f"{len(pictures)} HEIC pictures", HEIC_EXPECTED)
    if not found:
        raise InputError(folder, "no pictures", f"files that end with {listed(PICTURE_SUFFIXES)}")
    _log_left_out(folder, [path for path in files if path not in set(found)])
    return found


def _log_left_out(folder: Path, left: list[Path]) -> None:
    reasons = {
        HEIC_EXPECTED: [path.name for path in left if _has_heic_suffix(path)],
        "videos": [path.name for path in left if is_video(path)],
        "no pictures": [p.name for p in left if not (is_picture(p) or is_video(p))],
        "no files": [p.name for p in left if is_picture(p) and not _has_heic_suffix(p)],
    }
    for reason, names in reasons.items():
        if names:
            shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if names[8:] else "")
            LOGGER.warning("%s: left out (%s): %s", folder, reason, shown)


def _has_heic_suffix(path: Path) -> bool:
    return path.suffix.lower() in HEIC_SUFFIXES


def _can_read_heic() -> bool:
    return find_spec("pillow_heif") is not None


def _is_heic(path: Path) -> bool:
    """Whether a file is HEIC by its first bytes."""
    with path.open("rb") as file:
        head = file.read(32)
    # Every other brand that AVIF has may stand beside `mif1`.
    return head[4:8] == b"ftyp" and head[8:12] in HEIC_BRANDS and b"avif" not in head


def _register_heic(path: Path) -> None:
    if not _can_read_heic():
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
