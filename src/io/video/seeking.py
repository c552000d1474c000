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
from .shown_frame import EXPECTED, FramePainter
from .timeline import OpenVideo, Timeline, has_alpha_track, listed_times, read_timeline

if TYPE_CHECKING:
    from av import Packet, VideoFrame
    from av.video.stream import VideoStream

LOGGER = get_logger(__name__)
# Decoders that add the transparency beside the pictures to the frames.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}


@contextmanager
def open_video(path: Path) -> Iterator[OpenVideo]:
    """An open video file; failures of its container or stream become `InputError`."""
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
            yield OpenVideo(path, container, stream)
    except av.FFmpegError as error:
        raise InputError(path, f"unreadable ({error})", EXPECTED) from error


def whole_timeline(video: OpenVideo) -> Timeline:
    """The timeline of a video; `InputError` if it has fewer packets than the file lists."""
    listed = listed_times(video)
    timeline = read_timeline(video)
    # Packets are stored in decoding order: with some missing, the others cannot be numbered.
    _check_packets(video.path, timeline.num_packets, listed)
    return timeline


def decode_all(video: OpenVideo) -> Iterator[UInt8[Tensor, "h w 3"]]:
    """Yield every frame from the start; `InputError` if the file ends early."""
    listed = listed_times(video)
    video.stream.thread_type = "AUTO"
    paint, packets, decode = FramePainter(video.path, video.stream), 0, _decoder(video.stream)
    number = 0
    for packet in video.container.demux(video.stream):
        packets += packet.size > 0 and not packet.is_discard
        for frame in decode(packet):
            yield paint(frame, number)
            number += 1
    _check_packets(video.path, packets, listed)


def _check_packets(path: Path, found: int, listed: list[int] | None) -> None:
    if listed is not None and found < len(listed):
        raise InputError(path, f"data of {found} of {len(listed)} frames", EXPECTED)


def count_decoded(video: OpenVideo) -> int:
    """The number of frames that can be decoded from the start of a video."""
    video.container.seek(0)
    video.stream.thread_type = "AUTO"
    return sum(1 for _ in _decoded(video))


def decode_frames(
    video: OpenVideo, indices: list[int]
) -> Iterator[tuple[int, UInt8[Tensor, "h w 3"]]]:
    """Yield `(index, frame)` for strictly increasing frame numbers.

    Where some packets give no picture, the last picture is repeated at the end. Raises `InputError`
    for a number outside the video and a file that is shorter than its index.
    """
    assert all(a < b for a, b in zip(indices, indices[1:], strict=False)), f"unsorted {indices}"
    timeline = whole_timeline(video)
    outside = [index for index in indices if not 0 <= index < timeline.num_packets]
    if outside:
        expected = f"one of its {timeline.num_packets} frames, counted from 0"
        raise InputError(video.path, f"frame {outside[0]}", expected)
    paint, done = FramePainter(video.path, video.stream), 0
    if timeline.times:
        for index, frame in _find(video, timeline, indices):
            yield index, paint(frame, index)
            done += 1
    if done < len(indices):
        yield from _find_from_start(video, paint, indices[done:])


def _find(
    video: OpenVideo, timeline: Timeline, indices: list[int]
) -> Iterator[tuple[int, "VideoFrame"]]:
    """Yield frames, up to the first without a picture at its time."""
    frames: Iterator[VideoFrame] = iter(())
    position = None
    for index in indices:
        time = timeline.times[index]
        key = timeline.keys[max(bisect_right(timeline.keys, time, key=lambda k: k[0]) - 1, 0)]
        # Decoding continues after the frame before, unless a key frame lies in between.
        if position is None or key[0] > position:
            video.container.seek(key[1], stream=video.stream, backward=True)
            frames = video.container.decode(video.stream)
        frame = next((frame for frame in frames if frame.pts == time), None)
        if frame is None:
            return
        yield index, frame
        position = time


def _find_from_start(
    video: OpenVideo, paint: FramePainter, indices: list[int]
) -> Iterator[tuple[int, UInt8[Tensor, "h w 3"]]]:
    wanted, last, number = set(indices), None, -1
    video.container.seek(0)
    for number, frame in enumerate(_decoded(video)):
        if number in wanted:
            yield number, paint(frame, number)
        if number >= indices[-1]:
            return
        last = frame
    if last is None:
        raise InputError(video.path, "no frame that can be decoded", EXPECTED)
    text = "%s: the last of %d frames is repeated for those without data"
    LOGGER.warning(text, video.path, number + 1)
    picture = paint(last, number)
    for index in indices:
        if index > number:
            yield index, picture


def _decoded(video: OpenVideo) -> Iterator["VideoFrame"]:
    decode = _decoder(video.stream)
    for packet in video.container.demux(video.stream):
        yield from decode(packet)


def _decoder(stream: "VideoStream") -> "Callable[[Packet], list[VideoFrame]]":
    """The stream's decoder, or one that keeps transparency."""
    import av

    if not has_alpha_track(stream) or stream.codec_context.name not in ALPHA_DECODERS:
        return stream.decode
    context = av.CodecContext.create(ALPHA_DECODERS[stream.codec_context.name], "r")
    assert isinstance(context, av.VideoCodecContext), f"{context} for a video"
    return context.decode
