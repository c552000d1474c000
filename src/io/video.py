"""Videos: H.264 mp4 written, any common video read, whole or by single frames.

Frames are uint8 RGB [frame, h, w, 3]. Files carry yuv420p, which needs even heights and widths:
odd ones are refused rather than padded, because cameras and latents fix the exact size.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..runtime import InputError
from .atomic import atomic_path
from .color_conversion import ColorConverter
from .packed import as_path
from .seeking import count_frames, decode_all, decode_frames, open_video

if TYPE_CHECKING:
    from av.video.stream import VideoStream

# What is taken from a folder; a file that is named may have any suffix.
SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")
# One key frame a second at 24 fps: 8 % more bytes than with the encoder's default of 250, and a
# single frame of a 121-frame clip is decoded in a third of the time.
KEYFRAME_INTERVAL = 24


@dataclass(frozen=True)
class VideoInfo:
    """Frame count, displayed size in pixels and frames per second of a video file."""

    num_frames: int
    height: int
    width: int
    fps: float


def video_info(path: Path | str) -> VideoInfo:
    """What a video holds; the first frame is decoded, because it tells whether it is turned.

    Raises:
        InputError: no such file, not a readable video, no frames, an unknown frame rate.
    """
    path = as_path(path)
    header = video_header(path)
    with open_video(path) as (container, stream):
        height, width = next(decode_all(path, container, stream)).shape[:2]
    return replace(header, height=height, width=width)


def video_header(path: Path | str) -> VideoInfo:
    """The same without decoding: the stored size, rotation tags (phones set them) left aside."""
    path = as_path(path)
    with open_video(path) as (container, stream):
        num_frames, rate = count_frames(container, stream), stream.guessed_rate
        if num_frames == 0 or not rate:
            value = f"{num_frames} frames at {rate} fps"
            raise InputError(path, value, "a video of at least one frame with a frame rate")
        return VideoInfo(num_frames, stream.height, stream.width, float(rate))


def read_video(
    path: Path | str, indices: Sequence[int] | None = None
) -> UInt8[Tensor, "frame h w 3"]:
    """All frames, or those at `indices` (any order, repeats allowed), on the CPU.

    Colours are converted as the ffmpeg command does it and rotation tags are applied. Only what
    lies between a wanted frame and the key frame before it is decoded.

    Raises:
        InputError: no such file, not a readable video, a frame that the file does not have or
            cannot give, because it is truncated.
    """
    if indices is not None:
        indices = list(indices)
        frames = dict(iterate_video(path, sorted(set(indices))))
        assert frames, f"no frame of {path} was asked for"
        return torch.stack([frames[index] for index in indices])
    path = as_path(path)
    with open_video(path) as (container, stream):
        decoded = list(decode_all(path, container, stream))
    if not decoded:
        raise InputError(path, "a video of 0 frames", "at least one frame")
    return torch.stack(decoded)


def iterate_video(
    path: Path | str, indices: Sequence[int]
) -> Iterator[tuple[int, UInt8[Tensor, "h w 3"]]]:
    """Yield `(index, frame)` for strictly increasing `indices`, one frame in memory at a time."""
    path = as_path(path)
    with open_video(path) as (container, stream):
        yield from decode_frames(path, container, stream, list(indices))


def to_uint8(
    frames: Float[Tensor, "*shape"], low: float = -1.0, high: float = 1.0
) -> UInt8[Tensor, "*shape"]:
    """Values in [low, high] as 0 ... 255, clamped and truncated (not rounded), as published."""
    unit = ((frames.float() - low) / (high - low)).clamp(0, 1)
    return (unit * 255).to(torch.uint8)


class VideoWriter:
    """Writes frames as they come; the file appears under its name when the block succeeds.

    The first batch fixes the size. `quality` is 1 ... 10, as in imageio: 5 and 8 are the constant
    rate factors 25 and 10. Methods may be called from any thread, one at a time.

    Raises:
        InputError: from the first `write`, if height or width is odd; at the end of the block, if
            no frame came.
    """

    def __init__(self, path: Path | str, fps: float | int, quality: float | int = 8) -> None:
        assert fps > 0 and 1 <= quality <= 10, f"fps {fps}, quality {quality}"
        self.path = Path(path)
        self.num_frames = 0
        self._rate = Fraction(fps).limit_denominator(1001)
        self._crf = int((1 - quality / 10) * 51)
        self._stream: VideoStream | None = None
        self._converter = ColorConverter()

    def __enter__(self) -> "VideoWriter":
        import av

        with ExitStack() as stack:
            temporary = stack.enter_context(atomic_path(self.path))
            self._container = stack.enter_context(av.open(str(temporary), "w", format="mp4"))
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._open.__exit__(kind, error, traceback)
            return
        with self._open:
            if self._stream is None:
                raise InputError(self.path, "a video of 0 frames", "at least one frame")
            self._container.mux(self._stream.encode())

    def write(self, frames: UInt8[Tensor, "frame h w 3"]) -> None:
        """Append frames, from any device."""
        import av

        height, width = frames.shape[1:3]
        if self._stream is None:
            self._stream = self._add_stream(height, width)
        size = (self._stream.height, self._stream.width)
        assert (height, width) == size, f"frames of {(height, width)} after {size}"
        for frame in frames.cpu().contiguous().numpy():
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            # The ffmpeg command subsamples colours with this filter too.
            picture = self._converter(picture, "yuv420p", "BICUBIC")
            picture.pts = self.num_frames
            self._container.mux(self._stream.encode(picture))
            self.num_frames += 1

    def _add_stream(self, height: int, width: int) -> "VideoStream":
        if height % 2 or width % 2 or height * width == 0:
            raise InputError(self.path, f"frames of {height}x{width}", "an even height and width")
        stream = self._container.add_stream("libx264", rate=self._rate)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.options = {"crf": str(self._crf), "g": str(KEYFRAME_INTERVAL), **_repeatable()}
        return stream


def _repeatable() -> dict[str, str]:
    """Options that give the same bytes each time.

    With AVX-512 x264 (165) encodes one clip of some hundreds otherwise, but none where new memory
    is always filled alike. With AVX2 it takes as long and makes what it else makes mostly.
    """
    wide = torch.backends.cpu.get_cpu_capability() == "AVX512"
    return {"x264-params": "asm=avx2"} if wide else {}


def write_video(
    path: Path | str,
    frames: UInt8[Tensor, "frame h w 3"] | Iterable[UInt8[Tensor, "_ h w 3"]],
    fps: float | int,
    quality: float | int = 8,
) -> None:
    """Write one tensor of frames, or batches as they come, atomically; see `VideoWriter`."""
    batches = [frames] if isinstance(frames, Tensor) else frames
    with VideoWriter(path, fps, quality) as writer:
        for batch in batches:
            writer.write(batch)
