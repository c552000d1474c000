"""Videos: H.264 mp4 written, any common video read, whole or by single frames.

Frames are uint8 RGB [frame, h, w, 3]. Written files are yuv420p, which needs even sizes: odd ones
are refused, not padded, because cameras and latents fix the exact size.
"""

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ...runtime import InputError
from ..atomic import BlockWriter, atomic_path
from ..clip.packed import as_path
from .seeking import count_decoded, decode_all, decode_frames, open_video, whole_timeline
from .shown_frame import CONVERSION_THREADS
from .timeline import OpenVideo, frame_rate, listed_times, read_timeline

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.stream import VideoStream

# One key frame a second at 24 fps: against the encoder's default of 250, 8 % more bytes, and a
# third of the time to decode a single frame of a 121-frame clip.
KEYFRAME_INTERVAL = 24
# The colours of a larger frame take milliseconds to convert.
LARGE_PIXELS = 1 << 19


@dataclass(frozen=True)
class VideoInfo:
    """Frame count, displayed size in pixels and frames per second of a video file."""

    num_frames: int
    height: int
    width: int
    fps: float


def video_info(path: Path | str) -> VideoInfo:
    """The number of frames that can be decoded, and the size at which they are shown.

    The first frame is decoded, because it may be turned; all frames if only that counts them.
    Raises `InputError` for a file that is no readable video, has no frames or no frame rate.
    """
    path = as_path(path)
    with open_video(path) as video:
        timeline = whole_timeline(video)
        count = timeline.num_packets if timeline.exact else count_decoded(video)
        info = _described(video, timeline.known, count)
    with open_video(path) as video:
        first = next(decode_all(video), None)
    if first is None:
        raise InputError(path, "a video of 0 frames", "at least one frame")
    height, width = first.shape[:2]
    return replace(info, height=height, width=width)


def video_header(path: Path | str) -> VideoInfo:
    """As `video_info` from packets alone, for clips: upright videos of square pixels."""
    with open_video(as_path(path)) as video:
        times = listed_times(video)
        if times is not None:
            return _described(video, times, len(times))
        timeline = read_timeline(video)
        return _described(video, timeline.known, timeline.num_packets)


def _described(video: OpenVideo, times: list[int], count: int) -> VideoInfo:
    stream = video.stream
    rate = frame_rate(video, times, count) if count else None
    if not rate:
        value = f"{count} frames at {stream.guessed_rate} fps"
        raise InputError(video.path, value, "a video of at least one frame with a frame rate")
    return VideoInfo(count, height=stream.height, width=stream.width, fps=float(rate))


def read_video(
    path: Path | str, indices: Sequence[int] | None = None
) -> UInt8[Tensor, "frame h w 3"]:
    """All frames, or those at `indices` (any order, repeats allowed), on the CPU.

    Colours are converted as by the ffmpeg command, see also `shown_frame.py`. Where the file
    allows, decoding starts at the key frame before a wanted frame. Raises `InputError` for a file
    that is no readable video, or lacks a frame, because it is truncated.
    """
    if indices is not None:
        indices = list(indices)
        frames = dict(iterate_video(path, sorted(set(indices))))
        assert frames, f"no frame of {path} was asked for"
        return torch.stack([frames[index] for index in indices])
    with open_video(as_path(path)) as video:
        decoded = list(decode_all(video))
    if not decoded:
        raise InputError(path, "a video of 0 frames", "at least one frame")
    return torch.stack(decoded)


def iterate_video(
    path: Path | str, indices: Sequence[int]
) -> Iterator[tuple[int, UInt8[Tensor, "h w 3"]]]:
    """Yield `(index, frame)` for strictly increasing `indices`, one frame in memory at a time."""
    with open_video(as_path(path)) as video:
        yield from decode_frames(video, list(indices))


class VideoWriter(BlockWriter):
    """Writes frames one after another; the file appears under its name when the block succeeds.

    The first batch fixes the size. `quality` is 1 ... 10, as in imageio: 5 and 8 are the constant
    rate factors 25 and 10. Methods may be called from any thread, one at a time. The first `write`
    raises `InputError` for an odd height or width, the end of the block without any frame.
    """

    def __init__(
        self,
        path: Path | str,
        fps: float | int,
        quality: float | int = 8,
        frame_threads: int = 0,
    ) -> None:
        """`frame_threads` frames are encoded at once, for large frames and many cores.

        With 0 they are cut into slices. Quality is the same, the bytes are others.
        """
        assert fps > 0 and 1 <= quality <= 10, f"fps {fps}, quality {quality}"
        self.path = Path(path)
        self.num_frames = 0
        self._rate = Fraction(fps).limit_denominator(1001)
        self._crf = int((1 - quality / 10) * 51)
        self._frame_threads = frame_threads
        self._stream: VideoStream | None = None

    @contextmanager
    def _block(self) -> Iterator[None]:
        import av
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        with (
            atomic_path(self.path) as temporary,
            av.open(str(temporary), "w", format="mp4") as self._container,
        ):
            yield
            if self._stream is None:
                raise InputError(self.path, "a video of 0 frames", "at least one frame")
            self._container.mux(self._stream.encode())

    def write(self, frames: UInt8[Tensor, "frame h w 3"]) -> None:
        """Append frames, from any device."""
        height, width = frames.shape[1:3]
        if self._stream is None:
            self._stream = self._add_stream(height, width)
        size = (self._stream.height, self._stream.width)
        assert (height, width) == size, f"frames of {(height, width)} after {size}"
        for picture in self._converted(list(frames.cpu().contiguous().numpy())):
            picture.pts = self.num_frames
            self._container.mux(self._stream.encode(picture))
            self.num_frames += 1

    def _converted(self, frames: list[UInt8[np.ndarray, "h w 3"]]) -> Iterator["VideoFrame"]:
        """Yields frames as the encoder takes them; converts a large one while it encodes."""
        if not frames or frames[0].size < 3 * LARGE_PIXELS:
            yield from map(self._convert, frames)
            return
        with ThreadPoolExecutor(1) as pool:
            ahead = pool.submit(self._convert, frames[0])
            for frame in frames[1:]:
                ahead, ready = pool.submit(self._convert, frame), ahead
                yield ready.result()
            yield ahead.result()

    def _convert(self, frame: UInt8[np.ndarray, "h w 3"]) -> "VideoFrame":
        import av

        # The ffmpeg command subsamples colours with this filter, too.
        return self._reformatter.reformat(
            av.VideoFrame.from_ndarray(frame, format="rgb24"),
            format="yuv420p",
            interpolation="BICUBIC",
            threads=CONVERSION_THREADS,
        )

    def _add_stream(self, height: int, width: int) -> "VideoStream":
        if height % 2 or width % 2 or height * width == 0:
            raise InputError(self.path, f"frames of {height}x{width}", "an even height and width")
        stream = self._container.add_stream("libx264", rate=self._rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": str(self._crf), "g": str(KEYFRAME_INTERVAL), **_repeatable()}
        if self._frame_threads:
            stream.codec_context.thread_type = "FRAME"
            stream.codec_context.thread_count = self._frame_threads
        return stream


def _repeatable() -> dict[str, str]:
    """Options that give the same bytes each time.

    With AVX-512, x264 (165) encodes one clip in some hundreds differently, depending on what new
    memory holds. With AVX2 it is as fast, and gives the bytes that are usual otherwise.
    """
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return {"x264-params": "asm=avx2"} if wide else {}


def write_video(
    path: Path | str,
    frames: UInt8[Tensor, "frame h w 3"] | Iterable[UInt8[Tensor, "_ h w 3"]],
    fps: float | int,
    quality: float | int = 8,
    frame_threads: int = 0,
) -> None:
    """Write one tensor of frames, or batches as they come, atomically; see `VideoWriter`."""
    batches = [frames] if isinstance(frames, Tensor) else frames
    with VideoWriter(path, fps, quality, frame_threads) as writer:
        for batch in batches:
            writer.write(batch)
