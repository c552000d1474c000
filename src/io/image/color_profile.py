"""Pictures with an embedded ICC profile (Display P3, Adobe RGB, CMYK) in sRGB."""

import io
from pathlib import Path
from typing import TYPE_CHECKING

from ...runtime import get_logger

if TYPE_CHECKING:
    from PIL.Image import Image

LOGGER = get_logger(__name__)


def in_srgb(path: Path, picture: "Image") -> "Image":
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
