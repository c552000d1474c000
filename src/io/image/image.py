"""Reads any common picture as uint8 RGB [h, w, 3], upright, in sRGB, on white; writes PNG."""

import io
import math
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

from ...runtime import InputError, get_logger
from ..atomic import atomic_path
from ..damage import DAMAGES, check_file
from .pixels import on_white

if TYPE_CHECKING:
    from PIL.Image import Image

LOGGER = get_logger(__name__)

EXPECTED = "a readable picture (jpg, png, webp, avif, tiff, bmp or heic)"
# The running Python, which need not be the shell's.
HEIC_EXPECTED = f"the extra `heic`: {sys.executable} -m pip install pillow-heif"
HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
# Telephones take 200 megapixels; Pillow's own limit is lower.
MOST_PIXELS = 220_000_000
# Larger pictures are reduced: the generator needs less than a megapixel.
KEPT_PIXELS = 50_000_000


def read_image(path: Path | str) -> UInt8[Tensor, "h w 3"]:
    """The picture in a file, turned upright (EXIF), composited on white where transparent.

    The content decides the format, not the suffix. Grey, palette, CMYK and 16-bit pictures become
    8-bit RGB, an embedded colour profile becomes sRGB, an animation its first frame. Pictures of
    more than 50 megapixels are reduced by a whole factor. Raises `InputError` for a missing, empty,
    truncated or unreadable file, more than 220 megapixels, a HEIC picture without the extra that
    reads it.
    """
    from PIL import ImageOps

    path = Path(path)
    with _open(path) as picture:
        reduced = _reduced(path, picture)
        return torch.from_numpy(_to_rgb(_in_srgb(path, ImageOps.exif_transpose(reduced))))


def write_png(path: Path, picture: UInt8[Tensor, "h w 3"]) -> None:
    """Write a picture as a PNG, whole or not at all; `UnwritableError` if the disk refuses."""
    from PIL import Image

    with atomic_path(path) as temporary:
        Image.fromarray(picture.cpu().numpy()).save(temporary, "PNG")


def image_size(path: Path | str) -> tuple[int, int]:
    """Height and width of a picture as stored, from its header alone; raises as `read_image`."""
    with _open(Path(path)) as picture:
        return picture.height, picture.width


def can_read_heic() -> bool:
    """Whether the extra `heic` is installed."""
    return find_spec("pillow_heif") is not None


@contextmanager
def _open(path: Path) -> Iterator["Image"]:
    """An open picture; what its decoder raises within the block becomes `InputError`.

    Pillow's limit of pixels is off meanwhile: `_reduced` has its own.
    """
    from PIL import Image

    check_file(path, EXPECTED)
    if path.stat().st_size == 0:
        raise InputError(path, "an empty file", EXPECTED)
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        _register_heic(path)
        with Image.open(path) as picture:
            yield picture
    except InputError:
        raise
    except (*DAMAGES, Image.DecompressionBombError) as error:
        raise InputError(path, f"unreadable ({error})", EXPECTED) from error
    finally:
        Image.MAX_IMAGE_PIXELS = before


def _register_heic(path: Path) -> None:
    """Let Pillow read HEIC, if the file begins as HEIC."""
    with path.open("rb") as file:
        head = file.read(32)
    # AVIF may name `mif1` first, too.
    if head[4:8] != b"ftyp" or head[8:12] not in HEIC_BRANDS or b"avif" in head:
        return
    if not can_read_heic():
        raise InputError(path, "a HEIC picture", HEIC_EXPECTED)
    import pillow_heif

    pillow_heif.register_heif_opener()


def _reduced(path: Path, picture: "Image") -> "Image":
    """The picture, reduced by a whole factor where it is very large."""
    from PIL import Image

    pixels = picture.width * picture.height
    if pixels > MOST_PIXELS:
        value = f"{picture.width}x{picture.height} pixels"
        raise InputError(path, value, f"at most {MOST_PIXELS // 10**6} megapixels")
    factor = math.ceil(math.sqrt(pixels / KEPT_PIXELS))
    if factor <= 1:
        return picture
    size = (picture.width // factor, picture.height // factor)
    # JPEG is decoded at 1/2, 1/4 or 1/8 of the size; other formats ignore this.
    picture.draft(None, size)
    factor = math.ceil(math.sqrt(picture.width * picture.height / KEPT_PIXELS))
    if factor <= 1:
        return picture
    if picture.mode in ("RGB", "L", "CMYK", "YCbCr"):
        smaller = picture.reduce(factor)
    else:
        # A mean of palette indices is no colour; other modes would need a copy of full size.
        smaller = picture.resize(size, Image.Resampling.NEAREST)
    smaller.info = picture.info
    return smaller


def _to_rgb(picture: "Image") -> UInt8[np.ndarray, "h w 3"]:
    """8-bit RGB of a picture in any of Pillow's modes; `ValueError` for floating-point pixels."""
    if picture.mode == "F":
        raise ValueError("floating-point pixels")
    if picture.mode.startswith("I"):
        # 16 bits; the high byte is kept, as Pillow does for colour pictures.
        grey = (np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8)
        return np.repeat(grey[..., None], 3, axis=2)
    if not picture.has_transparency_data:
        return np.array(picture.convert("RGB"))
    return on_white(np.array(picture.convert("RGBA")))


def _in_srgb(path: Path, picture: "Image") -> "Image":
    """The picture in sRGB; unchanged without a profile, or with one of sRGB.

    A profile that is damaged or does not fit the picture is ignored, as viewers do, and logged.
    """
    from PIL import ImageCms

    profile = picture.info.get("icc_profile")
    if not profile:
        return picture
    if picture.mode in ("P", "LA", "PA"):
        picture = picture.convert("RGBA" if picture.has_transparency_data else "RGB")
    if picture.mode not in ("RGB", "RGBA", "CMYK", "L"):
        return picture
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return picture
        shown = ImageCms.profileToProfile(
            picture,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGBA" if picture.mode == "RGBA" else "RGB",
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError) as error:
        LOGGER.warning("%s: the colour profile is ignored (%s)", path, error)
        return picture
    assert shown is not None, "converted in place"
    return shown
