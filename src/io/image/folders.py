"""Pictures and videos by their suffixes, and those directly in a folder.

A suffix counts even where the path is no file, such as a broken link: its reader reports the fault.
Entries that are left out are logged with the reason.
"""

from pathlib import Path

from ...runtime import InputError, get_logger, listed
from .image import HEIC_EXPECTED, can_read_heic

LOGGER = get_logger(__name__)
# Formats that Pillow reads by itself.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp")
# Formats of the extra `heic`, see `image.py`.
HEIC_SUFFIXES = (".heic", ".heif")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")


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
