"""The inputs that people reported: what each reader makes of them. A new report is a new row."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from src.io.video import VideoInfo, read_video, video_info
from src.runtime import InputError

CORPUS = Path(__file__).parent


@dataclass(frozen=True)
class Row:
    """A file, what reads it, and the value that comes out or the message that is shown."""

    file: str
    read: Callable[[Path], object]
    value: object = None
    message: str | None = None

    def __str__(self) -> str:
        return f"{self.file}-{self.read.__name__}"


def info(path: Path) -> VideoInfo:
    """What a video holds, its rate to a thousandth."""
    found = video_info(path)
    return VideoInfo(found.num_frames, found.height, found.width, round(found.fps, 3))


def frames_read(path: Path) -> tuple[int, int]:
    """The number of frames, read as a whole and by number: the last one and one after it."""
    whole = read_video(path)
    last = read_video(path, [0, video_info(path).num_frames - 1])
    assert bool((last[1] == whole[-1]).all()), "another last frame by number"
    return len(whole), len(last)


def corners(path: Path) -> list[list[int]]:
    """Colours of the corners of the first frame to the nearest 64, from the top left, clockwise."""
    first = read_video(path, [0])[0].float()
    spots = first[[2, 2, -3, -3], [2, -3, -3, 2]]
    return (spots / 64).round().int().clamp(max=4).tolist()


ROWS = [
    Row("video/dash_sidx.mp4", info, VideoInfo(48, 54, 96, 24.0)),
    Row("video/dash_sidx.mp4", frames_read, (48, 2)),
    Row("video/mirrored.mp4", info, VideoInfo(10, 36, 64, 24.0)),
    Row("video/mirrored.mp4", corners, [[0, 0, 4], [4, 4, 4], [0, 0, 4], [0, 0, 4]]),
    Row("video/browser_no_default_duration.webm", info, VideoInfo(36, 36, 64, 23.968)),
    Row("video/anamorphic_4x3.mp4", info, VideoInfo(9, 54, 96, 24.0)),
    Row("video/opengop_cut.mkv", info, VideoInfo(12, 54, 96, 24.0)),
    Row("video/opengop_cut.mkv", frames_read, (12, 2)),
    Row("video/transparent.mov", corners, [[4, 4, 4]] * 4),
]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_the_reader_gives_the_right_value_or_names_the_fault(row: Row) -> None:
    """A reported fault that comes back."""
    path = CORPUS / row.file
    if row.message is None:
        assert row.read(path) == row.value
        return
    with pytest.raises(InputError, match=row.message) as caught:
        row.read(path)
    assert path.name in str(caught.value)
