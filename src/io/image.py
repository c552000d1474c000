"""Pictures: any common one read as uint8 RGB [h, w, 3], upright, in sRGB, on white; PNG written.

Folders are searched by suffix. A suffix counts even where the path is no file, such as a broken
link: its reader reports the fault. Entries that are left out are logged with the reason.
"""

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
from jaxtyping import Float, UInt8
from torch import Tensor

from ..runtime import InputError, get_logger, listed
from .atomic import atomic_path
from .damage import DAMAGES, check_file

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
# Formats that Pillow reads by itself.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp")
# Formats of the extra `heic`.
HEIC_SUFFIXES = (".heic", ".heif")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")


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
    # One bit a pixel at least; Pillow would make room for all of them before it misses their bytes.
    if picture.info.get("compression") == "raw" and path.stat().st_size < pixels / 8:
        value = f"{path.stat().st_size} bytes for {picture.width}x{picture.height} pixels"
        raise InputError(path, f"an unreadable file ({value})", EXPECTED)
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


def is_picture(path: Path) -> bool:
    """Whether a file has the suffix of a picture, HEIC included, in any case."""
    return path.suffix.lower() in PICTURE_SUFFIXES + HEIC_SUFFIXES


def is_video(path: Path) -> bool:
    """Whether a file has the suffix of a video, in any case."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def find_images(folder: Path | str) -> list[Path]:
    """The readable pictures directly in `folder`, by name; `InputError` without any."""
    files = _files(Path(folder), "a folder of pictures")
    pictures = [path for path in files if is_picture(path)]
    unread = () if can_read_heic() else HEIC_SUFFIXES
    heic = [path for path in pictures if path.suffix.lower() in unread]
    found = [path for path in pictures if path.suffix.lower() not in unread]
    if not found and pictures:
        raise InputError(folder, f"{len(pictures)} HEIC pictures", HEIC_EXPECTED)
    if not found:
        expected = f"files that end with {', '.join(PICTURE_SUFFIXES)}"
        raise InputError(folder, "no pictures", expected)
    videos = [path for path in files if is_video(path)]
    _log(folder, HEIC_EXPECTED, heic)
    _log(folder, "videos", videos)
    _log(folder, "no pictures", [path for path in files if path not in {*pictures, *videos}])
    return found


def find_videos(folder: Path | str) -> list[Path]:
    """The videos directly in `folder`, by name; `InputError` without any."""
    files = _files(Path(folder), "a folder of videos")
    found = [path for path in files if is_video(path)]
    if not found:
        raise InputError(folder, "no videos", f"files that end with {', '.join(VIDEO_SUFFIXES)}")
    _log(folder, "no videos", [path for path in files if not is_video(path)])
    return found


def _files(folder: Path, expected: str) -> list[Path]:
    if not folder.is_dir():
        raise InputError(folder, "no such folder", expected)
    try:
        return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(folder, f"unreadable ({error.strerror})", expected) from error


def _log(folder: Path | str, reason: str, left: list[Path]) -> None:
    if left:
        names = listed([path.name for path in left])
        LOGGER.warning("%s: left out (%s): %s", folder, reason, names)


def to_uint8(
    frames: Float[Tensor, "*shape"], low: float = -1.0, high: float = 1.0
) -> UInt8[Tensor, "*shape"]:
    """Values in [low, high] as 0 ... 255, clamped and truncated (not rounded), as published."""
    # In place: a full-size clip in float32 is 1.2 GiB.
    return (frames.float() - low).div_(high - low).clamp_(0, 1).mul_(255).to(torch.uint8)


def round_to_uint8(unit: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Values in [0, 1] as 0 ... 255, clamped and rounded to the nearest."""
    return (unit.clamp(0, 1) * 255).round().to(torch.uint8)


def on_white(rgba: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of straight RGBA on white; truncated and not rounded, as published."""
    alpha, rgb = rgba[..., 3:].astype(np.uint16), rgba[..., :3].astype(np.uint16)
    return ((rgb * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
