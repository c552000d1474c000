"""Videos, pictures (videos of one frame) and folders of frames to compare, paired by name.

The name is that of the file without its suffix, or of the folder of frames.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from ..io.image import (
    PICTURE_SUFFIXES,
    VIDEO_SUFFIXES,
    find_images,
    is_picture,
    is_video,
    read_image,
)
from ..io.video.video import iterate_video, video_info
from ..runtime import InputError, listed, natural_order

FILES = f"files that end with {', '.join(VIDEO_SUFFIXES + PICTURE_SUFFIXES)}"


@dataclass(frozen=True)
class Footage:
    """Frame count and size in pixels of a video, a picture or a folder of frames."""

    path: Path
    num_frames: int
    height: int
    width: int

    def frames(self, count: int) -> Iterator[UInt8[Tensor, "h w 3"]]:
        """Yield the first `count` frames; `InputError` if one is unreadable or of another size."""
        assert count <= self.num_frames, f"{count} of {self.num_frames} frames of {self.path}"
        if _is_video(self.path):
            yield from (frame for _, frame in iterate_video(self.path, range(count)))
            return
        for path in picture_files(self.path)[:count]:
            picture = read_image(path)
            if tuple(picture.shape[:2]) != (self.height, self.width):
                value = f"{picture.shape[0]}x{picture.shape[1]} pixels"
                expected = f"{self.height}x{self.width} as in the first picture of its folder"
                raise InputError(path, value, expected)
            yield picture


def open_footage(path: Path) -> Footage:
    """The footage of `path`; `InputError` if its first frame cannot be decoded."""
    if path.is_file() and not _is_footage(path):
        raise InputError(path, f"a file of the type {path.suffix!r}", FILES)
    if _is_video(path):
        info = video_info(path)
        return Footage(path, info.num_frames, height=info.height, width=info.width)
    pictures = picture_files(path)
    height, width = read_image(pictures[0]).shape[:2]
    return Footage(path, len(pictures), height=height, width=width)


def picture_files(path: Path) -> list[Path]:
    """The pictures of a folder of frames, "2" before "10", or the single picture `path`."""
    return _by_name(find_images(path)) if path.is_dir() else [path]


def _by_name(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: natural_order(path.name))


def find_pairs(
    prediction: Path, reference: Path
) -> tuple[dict[str, tuple[Path, Path]], list[str], list[str]]:
    """The pairs of two folders by name, in natural order, and the names that only one folder has.

    Two files, or a file and a folder of frames, are one pair with the name of the prediction.
    Raises `InputError` for a path that does not exist or has nothing to compare, a name of two
    files, no common name.
    """
    for path in (prediction, reference):
        if not path.exists():
            raise InputError(path, "no such file or folder", "videos or pictures to compare")
    if prediction.is_file() or reference.is_file():
        name = prediction.stem if prediction.is_file() else prediction.resolve().name
        return {name: (prediction, reference)}, [], []
    ours, theirs = _find_footage(prediction), _find_footage(reference)
    only_ours = [name for name in ours if name not in theirs]
    only_theirs = [name for name in theirs if name not in ours]
    pairs = {name: (ours[name], theirs[name]) for name in ours if name in theirs}
    if not pairs:
        value = f"no common names: {listed(only_ours)}; {listed(only_theirs)}"
        raise InputError(f"{prediction} and {reference}", value, "files of the same names in both")
    return pairs, only_ours, only_theirs


def _find_footage(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in _by_name(folder.iterdir()):
        if not _is_footage(path):
            continue
        name = path.name if path.is_dir() else path.stem
        if name in found:
            value = f"{found[name].name} and {path.name}"
            raise InputError(folder, value, f"one file or folder of the name {name}")
        found[name] = path
    if not found:
        raise InputError(folder, "nothing to compare", f"{FILES}, or folders of pictures")
    return found


def _is_footage(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return any(_is_footage(entry) and _is_picture(entry) for entry in path.iterdir())
    return _is_video(path) or _is_picture(path)


def _is_video(path: Path) -> bool:
    return is_video(path) and not path.is_dir()


def _is_picture(path: Path) -> bool:
    return is_picture(path) and path.is_file()
