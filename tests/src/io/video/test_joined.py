"""Videos made of finished files and of segments that are encoded side by side."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from torch import Tensor

from src.io.video.joined import join_videos, write_segments
from src.io.video.video import read_video, video_info, write_video
from src.runtime import InputError


def moving_frames(count: int) -> Tensor:
    """Returns uint8 frames of a moving gradient, each different from all others."""
    places = torch.arange(64)
    frames = [
        torch.stack([(places * 3 + 5 * number) % 256, 255 - places, places + number], dim=-1)
        for number in range(count)
    ]
    return torch.stack(frames)[:, None].expand(-1, 48, -1, -1).contiguous().to(torch.uint8)


def shown_times(path: Path) -> list[Fraction]:
    """Returns the seconds at which the frames are shown, in the order in which they are decoded."""
    with av.open(str(path)) as container:
        return [Fraction(f.pts) * f.time_base for f in container.decode(video=0)]


@pytest.mark.parametrize("fps", [24, 12.5])
def test_joined_files_have_the_frames_and_times_of_one_file(tmp_path: Path, fps: float) -> None:
    """Frames lost, encoded again, out of order, or shown at other times at the seams."""
    frames = moving_frames(44)
    parts = [tmp_path / f"part{number}.mp4" for number in range(3)]
    for part, piece in zip(parts, frames.split([17, 1, 26]), strict=True):
        write_video(part, piece, fps)
    joined, whole = tmp_path / "joined.mp4", tmp_path / "whole.mp4"
    join_videos(joined, parts)
    write_video(whole, frames, fps)
    assert torch.equal(read_video(joined), torch.cat([read_video(part) for part in parts]))
    assert video_info(joined) == video_info(whole)
    assert shown_times(joined) == shown_times(whole)
    assert torch.equal(read_video(joined, [40, 17, 3]), read_video(joined)[[40, 17, 3]])


def test_parts_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """A file that players show in part, under the name of a finished one."""
    first, other, slow, cut = (tmp_path / f"{name}.mp4" for name in ("a", "b", "c", "d"))
    frames = moving_frames(30)
    write_video(first, frames, 24)
    write_video(other, frames[:, :32], 24)
    write_video(slow, frames, 12)
    for part, value in ((other, "64x32"), (slow, "12 fps")):
        with pytest.raises(InputError, match=f"{part.name}.*{value}.*a.mp4"):
            join_videos(tmp_path / "joined.mp4", [first, part])
    cut.write_bytes(first.read_bytes()[:-200])
    with pytest.raises(InputError, match="d.mp4"):
        join_videos(tmp_path / "joined.mp4", [first, cut])
    assert not (tmp_path / "joined.mp4").exists()


def test_segments_are_as_good_and_repeat_bit_for_bit(tmp_path: Path) -> None:
    """Segments in the order in which they end, another quality, or bytes that change by chance."""
    frames = moving_frames(50)
    segments: list[Any] = [lambda piece=piece: piece for piece in frames.split(9)]
    written = []
    for number in range(2):
        write_segments(tmp_path / f"{number}.mp4", segments, 24, quality=5)
        written.append((tmp_path / f"{number}.mp4").read_bytes())
    write_video(tmp_path / "whole.mp4", frames, 24, quality=5)
    found, whole = (read_video(tmp_path / name).float() for name in ("0.mp4", "whole.mp4"))
    assert written[0] == written[1]
    errors = [(video - frames.float()).square().mean() for video in (found, whole)]
    assert errors[0] < 1.1 * errors[1] + 0.05


def test_one_segment_is_an_ordinary_video(tmp_path: Path) -> None:
    """A detour, or other bytes, where nothing can be encoded side by side."""
    frames = moving_frames(12)
    write_segments(tmp_path / "segment.mp4", [lambda: frames], 24)
    write_video(tmp_path / "video.mp4", frames, 24, frame_threads=12)
    assert (tmp_path / "segment.mp4").read_bytes() == (tmp_path / "video.mp4").read_bytes()


def test_a_segment_that_fails_leaves_no_file(tmp_path: Path) -> None:
    """A finished name for a video that lacks a part; a swallowed error."""

    def failing() -> Tensor:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        write_segments(tmp_path / "a.mp4", [lambda: moving_frames(3), failing], 24)
    assert list(tmp_path.iterdir()) == []
