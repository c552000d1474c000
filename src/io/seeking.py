"""Finding frames in a video file by number, with as little decoding as the file allows.

A frame's number is its place in the order of presentation; what an edit list cuts off is not
counted. Packets come in the order of decoding and carry their time of presentation (`pts`).
"""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ..runtime import InputError
from .color_conversion import ColorConverter
from .packed import PackedPath

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

EXPECTED = "a complete, readable video file"
# Containers that know where each of their packets lies; seeking in others may miss its aim.
INDEXED_FORMATS = ("mp4", "matroska")


@contextmanager
def open_video(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """An open container and its first video stream; failures of either become `InputError`."""
    import av

    if not path.is_file():
        raise InputError(path, "no such file", EXPECTED)
    try:
        with ExitStack() as stack:
            # A file in a tar part has no name that a library could open; others are left to it.
            packed = isinstance(path, PackedPath)
            content = stack.enter_context(path.open("rb")) if packed else str(path)
            container = stack.enter_context(av.open(content))
            if not container.streams.video:
                raise InputError(path, "no video stream", EXPECTED)
            yield container, container.streams.video[0]
    except av.FFmpegError as error:
        raise InputError(path, f"unreadable ({error})", EXPECTED) from error


def count_frames(container: "InputContainer", stream: "VideoStream") -> int:
    """The number of frames: from the file's index where it has one, else by reading packets."""
    listed = _listed_frames(container, stream)
    if listed is not None:
        return listed
    return sum(packet.size > 0 and not packet.is_discard for packet in container.demux(stream))


def decode_all(
    path: Path, container: "InputContainer", stream: "VideoStream"
) -> Iterator[UInt8[Tensor, "h w 3"]]:
    """Yield every frame from the start; `InputError` if the file ends early."""
    expected = _listed_frames(container, stream)
    stream.thread_type = "AUTO"
    number, converter = -1, ColorConverter()
    for number, frame in enumerate(container.decode(stream)):
        yield _to_rgb(path, number, frame, converter)
    if expected is not None and number + 1 < expected:
        raise InputError(path, f"data of {number + 1} of {expected} frames", EXPECTED)


def decode_frames(
    path: Path, container: "InputContainer", stream: "VideoStream", indices: list[int]
) -> Iterator[tuple[int, UInt8[Tensor, "h w 3"]]]:
    """Yield `(index, frame)` for strictly increasing frame numbers.

    Raises:
        InputError: an index outside the video, a frame that the file lists but cannot give.
    """
    assert all(a < b for a, b in zip(indices, indices[1:], strict=False)), f"unsorted {indices}"
    timeline, listed = _read_timeline(container, stream), _listed_frames(container, stream)
    # Where packets are missing, the others cannot be numbered: they come in another order.
    if listed is not None and timeline.num_frames < listed:
        raise InputError(path, f"data of {timeline.num_frames} of {listed} frames", EXPECTED)
    outside = [index for index in indices if not 0 <= index < timeline.num_frames]
    if outside:
        expected = f"one of its {timeline.num_frames} frames, counted from 0"
        raise InputError(path, f"frame {outside[0]}", expected)
    found, converter = -1, ColorConverter()
    for index, frame in _find(container, stream, timeline, indices):
        yield index, _to_rgb(path, index, frame, converter)
        found = index
    if indices and found != indices[-1]:
        missing = next(index for index in indices if index > found)
        raise InputError(path, f"no data for frame {missing}", EXPECTED)


def _listed_frames(container: "InputContainer", stream: "VideoStream") -> int | None:
    if "mp4" not in container.format.name or len(stream.index_entries) == 0:
        return None
    return sum(not entry.is_discard for entry in stream.index_entries)


@dataclass(frozen=True)
class _Timeline:
    """Times of presentation, ascending; key frames as (time, where to seek); empty if unknown."""

    num_frames: int
    times: list[int]
    keys: list[tuple[int, int]]


def _read_timeline(container: "InputContainer", stream: "VideoStream") -> _Timeline:
    times: list[int | None] = []
    keys: list[tuple[int, int]] = []
    for packet in container.demux(stream):
        if packet.size == 0:
            continue
        # A key frame may lie before the cut of an edit list and serve frames behind it.
        if packet.is_keyframe and packet.pts is not None:
            keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))
        if not packet.is_discard:
            times.append(packet.pts)
    known = [time for time in times if time is not None]
    indexed = any(name in container.format.name for name in INDEXED_FORMATS)
    if not indexed or not keys or len(set(known)) < len(times):
        return _Timeline(len(times), [], [])
    return _Timeline(len(times), sorted(known), sorted(keys))


def _find(
    container: "InputContainer", stream: "VideoStream", timeline: _Timeline, indices: list[int]
) -> Iterator[tuple[int, "VideoFrame"]]:
    if not timeline.times:
        yield from _find_from_start(container, stream, indices)
        return
    frames: Iterator[VideoFrame] = iter(())
    position = None
    for index in indices:
        time = timeline.times[index]
        key = timeline.keys[max(bisect_right(timeline.keys, time, key=lambda k: k[0]) - 1, 0)]
        # Decoding goes on from the frame before, unless a key frame lies in between.
        if position is None or key[0] > position:
            container.seek(key[1], stream=stream, backward=True)
            frames = container.decode(stream)
        frame = next((frame for frame in frames if frame.pts == time), None)
        if frame is None:
            return
        yield index, frame
        position = time


def _find_from_start(
    container: "InputContainer", stream: "VideoStream", indices: list[int]
) -> Iterator[tuple[int, "VideoFrame"]]:
    wanted = set(indices)
    # The timeline was read to the end of the file.
    container.seek(0)
    for index, frame in enumerate(container.decode(stream)):
        if index in wanted:
            yield index, frame
        if index >= indices[-1]:
            return


def _to_rgb(
    path: Path, index: int, frame: "VideoFrame", converter: ColorConverter
) -> UInt8[Tensor, "h w 3"]:
    if frame.is_corrupt:
        raise InputError(path, f"damaged data for frame {index}", EXPECTED)
    picture = converter(frame, "rgb24").to_ndarray()
    # Phones store pictures as the sensor lies; the tag counts degrees counter-clockwise.
    return torch.from_numpy(np.ascontiguousarray(np.rot90(picture, frame.rotation // 90)))
