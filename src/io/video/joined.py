"""Videos made of parts: finished files one after another, or segments encoded side by side."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from jaxtyping import UInt8
from torch import Tensor

from ...runtime import InputError
from ..atomic import atomic_path
from .seeking import open_video
from .video import write_video

if TYPE_CHECKING:
    from av.packet import Packet

# The bytes of a file depend on these numbers, so they are the same on all machines. More threads
# would shorten the vertical motion that the encoder looks for.
FRAME_THREADS = 12
FRAME_THREADS_OF_A_SEGMENT = 3
# The frames of a segment are in memory while it is encoded: 170 MB for 31 of 704x2560.
SEGMENTS_AT_ONCE = 6


def join_videos(path: Path | str, parts: Sequence[Path]) -> None:
    """Writes the frames of finished videos one after another, atomically, without encoding them.

    Takes mp4 files of one size, frame rate and settings, as `write_video` writes them. Raises
    `InputError` for a file that differs in these, is cut, or is no readable video.
    """
    import av

    with atomic_path(Path(path)) as temporary, av.open(str(temporary), "w", format="mp4") as joined:
        stream, expected, step = None, (), 0
        found: list[list[Packet]] = []
        for part in parts:
            with open_video(part) as video:
                source = video.stream
                stream = stream or joined.add_stream_from_template(source)
                found.append([packet for packet in video.container.demux(source) if packet.size])
                codec, count, duration = source.codec_context, source.frames, source.duration
                size, rate = (source.width, source.height), source.average_rate
                settings = (codec.extradata, size, rate, source.time_base)
            expected = expected or settings
            if settings != expected or not (duration and count) or len(found[-1]) != count:
                value = f"{len(found[-1])} of {count} frames of {size[0]}x{size[1]} at {rate} fps"
                raise InputError(part, value, f"a video like {parts[0]}")
            step = duration // count
        _shift(found, step)
        for packet in chain.from_iterable(found):
            packet.stream = stream
            joined.mux(packet)


def _shift(parts: "Sequence[Sequence[Packet]]", step: int) -> None:
    """Gives the packets of all parts the times of one video; frames are `step` apart."""
    # A frame is decoded before it is shown, by the longest reordering of any part.
    ahead = min(packets[0].dts or 0 for packets in parts)
    number = 0
    for packets in parts:
        start = number * step
        for packet in packets:
            packet.pts = (packet.pts or 0) + start
            packet.dts = number * step + ahead
            number += 1


def write_segments(
    path: Path | str,
    segments: Sequence[Callable[[], UInt8[Tensor, "_ h w 3"]]],
    fps: float | int,
    quality: float | int = 8,
) -> None:
    """Writes the frames of all segments, encoded side by side; see `write_video`.

    For large frames and many cores: the encoder plans the frames of one segment in one thread. A
    segment is asked for its frames when its turn comes, in any thread; it begins with a key frame.
    """
    if len(segments) == 1:
        return write_video(path, segments[0](), fps, quality, frame_threads=FRAME_THREADS)
    with TemporaryDirectory() as folder, ThreadPoolExecutor(SEGMENTS_AT_ONCE) as pool:
        parts = [Path(folder, f"{number}.mp4") for number in range(len(segments))]

        def write(part: Path, segment: Callable[[], Tensor]) -> None:
            write_video(part, segment(), fps, quality, FRAME_THREADS_OF_A_SEGMENT)

        list(pool.map(write, parts, segments))
        join_videos(path, parts)
