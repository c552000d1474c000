"""Which files are pictures and which are videos, by their suffixes: the one list of the project."""

from pathlib import Path

# What Pillow reads by itself.
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".avif", ".tif", ".tiff", ".bmp")
# What needs the extra `heic`, see `image.py`.
HEIC_SUFFIXES = (".heic", ".heif")
VIDEO_SUFFIXES = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")


def is_picture(path: Path) -> bool:
    """Whether a file has the suffix of a picture, in any case, HEIC among them."""
    return path.suffix.lower() in PICTURE_SUFFIXES + HEIC_SUFFIXES


def is_video(path: Path) -> bool:
    """Whether a file has the suffix of a video, in any case."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def listed(suffixes: tuple[str, ...]) -> str:
    """Suffixes as a message names them."""
    return ", ".join(suffixes)
