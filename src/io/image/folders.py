"""Pictures and videos directly in a folder; what is left out is logged with its reason.

What has the suffix of a picture or a video counts, also where it is no file, such as a link to
nowhere: whoever opens it says what is wrong with it.
"""

from pathlib import Path

from ...runtime import InputError, get_logger
from .image import HEIC_EXPECTED, can_read_heic
from .suffixes import (
    HEIC_SUFFIXES,
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    is_picture,
    is_video,
    listed,
)

LOGGER = get_logger(__name__)
# Names that a line of the log shows before it only counts the others.
NAMES_SHOWN = 8


def find_images(folder: Path | str) -> list[Path]:
    """The pictures directly in `folder`, by name; their suffix may be in any case.

    Raises `InputError` where there is no such folder, or no image in it that can be read.
    """
    files = _files(Path(folder), "a folder of pictures")
    pictures = [path for path in files if is_picture(path)]
    found = [path for path in pictures if can_read_heic() or not _has_heic_suffix(path)]
    if not found and pictures:
        raise InputError(folder, f"{len(pictures)} HEIC pictures", HEIC_EXPECTED)
    if not found:
        raise InputError(folder, "no pictures", f"files that end with {listed(PICTURE_SUFFIXES)}")
    left = [path for path in files if path not in set(found)]
    heic = [path for path in left if path in set(pictures)]
    videos = [path for path in left if is_video(path)]
    _log(folder, HEIC_EXPECTED, heic)
    _log(folder, "videos", videos)
    _log(folder, "no pictures", [path for path in left if path not in {*heic, *videos}])
    return found


def find_videos(folder: Path | str) -> list[Path]:
    """The videos directly in `folder`, by name; their suffix may be in any case.

    Raises `InputError` where there is no such folder or no video in it.
    """
    files = _files(Path(folder), "a folder of videos")
    found = [path for path in files if is_video(path)]
    if not found:
        raise InputError(folder, "no videos", f"files that end with {listed(VIDEO_SUFFIXES)}")
    _log(folder, "no videos", [path for path in files if path not in set(found)])
    return found


def _files(folder: Path, expected: str) -> list[Path]:
    if not folder.is_dir():
        raise InputError(folder, "no such folder", expected)
    try:
        return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(folder, f"unreadable ({error.strerror})", expected) from error


def _has_heic_suffix(path: Path) -> bool:
    return path.suffix.lower() in HEIC_SUFFIXES


def _log(folder: Path | str, reason: str, left: list[Path]) -> None:
    if left:
        names = ", ".join(path.name for path in left[:NAMES_SHOWN])
        more = f" and {len(left) - NAMES_SHOWN} more" if len(left) > NAMES_SHOWN else ""
        LOGGER.warning("%s: left out (%s): %s%s", folder, reason, names, more)
