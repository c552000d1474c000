"""Finds the frames of a video by number, with as little decoding as the file allows.

A frame's number is its place in the order of presentation among the decodable frames, see
`timeline.py`.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import UInt8
from torch import Tensor

from ...runtime import InputError, get_logger
from ..clip.packed import PackedPath
from ..damage import check_file
from .shown_frame import FramePainter
from .timeline import Timeline, has_alpha_track, listed_times, read_timeline

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

LOGGER = get_logger(__name__)
EXPECTED = "a complete, readable video file"
# Decoders that add the transparency beside the pictures to the frames.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@contextmanager
def open_video(path: Path) -> Iterator[tuple["InputContainer", "VideoStream"]]:
    """An open container and its first video stream; their failures become `InputError`."""
    import av

    check_file(path, EXPECTED)
    try:
        with ExitStack() as stack:
            # A file in a tar part has no name that the library could open.
            packed = isinstance(path, PackedPath)
            content = stack.enter_context(path.open("rb")) if packed else str(path)
            container = stack.enter_context(av.open(content, metadata_errors="replace"))
            if not container.streams.video:
                raise InputError(path, "no video stream", EXPECTED)
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise InputError(path, "a video of an unknown codec", EXPECTED)
            yield container, stream
    except av.FFmpegError as error:
        raise InputError(path, f"unreadable ({error})", EXPECTED) from error


def whole_timeline(path: Path, container: "InputContainer", stream: "VideoStream") -> Timeline:
    """The timeline of a stream; `InputError` if it has fewer packets than the file lists."""
    listed = listed_times(path, container, stream)
    timeline = read_timeline(container, stream)
    # Packets are stored in decoding order: with some missing, the others cannot be numbered.
    _check_packets(path, timeline.num_packets, listed)
    return timeline


def decode_all(
    path: Path, container: "InputContainer", stream: "VideoStream"
) -> Iterator[UInt8[Tensor, "h w 3"]]:
    """Yield every frame from the start; `InputError` if the file ends early."""
    listed = listed_times(path, container, stream)
    stream.thread_type = "AUTO"
    paint, packets, decode = FramePainter(path, stream), 0, _decoder(stream)
    number = 0
    for packet in container.demux(stream):
        packets += packet.size > 0 and not packet.is_discard
        for frame in decode(packet):
            yield _painted(path, paint, number, frame)
            number += 1
    _check_packets(path, packets, listed)


def _check_packets(path: Path, found: int, listed: list[int] | None) -> None:
    if listed is not None and found < len(listed):
        raise InputError(path, f"data of {found} of {len(listed)} frames", EXPECTED)


def count_decoded(container: "InputContainer", stream: "VideoStream") -> int:
    """The number of frames that can be decoded from the start of a stream."""
    container.seek(0)
    stream.thread_type = "AUTO"
    return sum(1 for _ in _decoded(container, stream))


def decode_frames(
    path: Path, container: "InputContainer", stream: "VideoStream", indices: list[int]
) -> Iterator[tuple[int, UInt8[Tensor, "h w 3"]]]:
    """Yield `(index, frame)` for strictly increasing frame numbers.

    Where some packets give no picture, the last picture is repeated at the end. Raises `InputError`
    for a number outside the video and a file that is shorter than its index.
    """
    assert all(a < b for a, b in zip(indices, indices[1:], strict=False)), f"unsorted {indices}"
    timeline = whole_timeline(path, container, stream)
    outside = [index for index in indices if not 0 <= index < timeline.num_packets]
    if outside:
        expected = f"one of its {timeline.num_packets} frames, counted from 0"
        raise InputError(path, f"frame {outside[0]}", expected)
    paint, done = FramePainter(path, stream), 0
    if timeline.times:
        for index, frame in _find(container, stream, timeline, indices):
            yield index, _painted(path, paint, index, frame)
            done += 1
    if done < len(indices):
        yield from _find_from_start(path, container, stream, indices[done:])


def _find(
    container: "InputContainer", stream: "VideoStream", timeline: Timeline, indices: list[int]
) -> Iterator[tuple[int, "VideoFrame"]]:
    """Yield frames, up to the first without a picture at its time."""
    frames: Iterator[VideoFrame] = iter(())
    position = None
    for index in indices:
        time = timeline.times[index]
        key = timeline.keys[max(bisect_right(timeline.keys, time, key=lambda k: k[0]) - 1, 0)]
        # Decoding continues after the frame before, unless a key frame lies in between.
        if position is None or key[0] > position:
            container.seek(key[1], stream=stream, backward=True)
            frames = container.decode(stream)
        frame = next((frame for frame in frames if frame.pts == time), None)
        if frame is None:
            return
        yield index, frame
        position = time


def _find_from_start(
    path: Path, container: "InputContainer", stream: "VideoStream", indices: list[int]
) -> Iterator[tuple[int, UInt8[Tensor, "h w 3"]]]:
    wanted, paint, last = set(indices), FramePainter(path, stream), None
    number = -1
    container.seek(0)
    for number, frame in enumerate(_decoded(container, stream)):
        if number in wanted:
            yield number, _painted(path, paint, number, frame)
        if number >= indices[-1]:
            return
        last = frame
    if last is None:
        raise InputError(path, "no frame that can be decoded", EXPECTED)
    LOGGER.warning("%s: the last of %d frames is repeated for those without data", path, number + 1)
    picture = _painted(path, paint, number, last)
    for index in indices:
        if index > number:
            yield index, picture


def _decoded(container: "InputContainer", stream: "VideoStream") -> Iterator["VideoFrame"]:
    decode = _decoder(stream)
    for packet in container.demux(stream):
        yield from decode(packet)


def _decoder(stream: "VideoStream") -> "Callable[[Packet], list[VideoFrame]]":
    """The stream's decoder, or one that keeps transparency."""
    import av

    if not has_alpha_track(stream) or stream.codec_context.name not in ALPHA_DECODERS:
        return stream.decode
    context = av.CodecContext.create(ALPHA_DECODERS[stream.codec_context.name], "r")
    assert isinstance(context, av.VideoCodecContext), f"{context} for a video"
    return context.decode


def _painted(
    path: Path, paint: FramePainter, index: int, frame: "VideoFrame"
) -> UInt8[Tensor, "h w 3"]:
    if frame.is_corrupt:
        raise InputError(path, f"damaged data for frame {index}", EXPECTED)
    return paint(frame)
