"""Decoded frames of a video as pictures, as players show them.

Turned and mirrored by the display matrix, with square pixels, on white where transparent, and tone
mapped to sRGB where the video has a high dynamic range (HLG, PQ).
"""

from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from ...runtime import InputError
from ..image import on_white
from .tone_mapping import CURVES, tone_mapped

if TYPE_CHECKING:
    from av import VideoFrame
    from av.video.stream import VideoStream

EXPECTED = "a complete, readable video file"
# Larger values are a damaged header: no player shows such a video.
WIDEST_PIXEL = 16
MOST_PIXELS = 1 << 27
# By itself PyAV starts and ends a thread a core for each frame; 64 of them take longer than all the
# rest of a small clip.
CONVERSION_THREADS = 4


class FramePainter:
    """Turns the decoded frames of one stream into RGB pictures."""

    def __init__(self, path: Path, stream: "VideoStream") -> None:
        """Store the shown size; `InputError` for sizes that no video has."""
        from av.video.reformatter import VideoReformatter

        ratio = stream.sample_aspect_ratio or Fraction(1)
        if not Fraction(1, WIDEST_PIXEL) <= ratio <= WIDEST_PIXEL:
            expected = f"a ratio between 1:{WIDEST_PIXEL} and {WIDEST_PIXEL}:1"
            raise InputError(path, f"pixels of {ratio.numerator}:{ratio.denominator}", expected)
        if stream.width * stream.height * ratio > MOST_PIXELS:
            value = f"pictures of {stream.height}x{stream.width}"
            raise InputError(path, value, f"at most {MOST_PIXELS} pixels")
        # Recordings of a screen may change their size: all frames get the first one's.
        self._size = (stream.height, max(round(stream.width * ratio), 1))
        self._path, self._reformatter = path, VideoReformatter()

    def __call__(self, frame: "VideoFrame", index: int) -> UInt8[Tensor, "h w 3"]:
        """The picture of frame number `index`; `InputError` if its data is damaged."""
        if frame.is_corrupt:
            raise InputError(self._path, f"damaged data for frame {index}", EXPECTED)
        curve = CURVES.get(frame.color_trc or 0)
        if curve is not None:
            picture = tone_mapped(self._pixels(frame, "rgb48le"), curve)
        elif any(component.is_alpha for component in frame.format.components):
            picture = on_white(self._pixels(frame, "rgba"))
        else:
            picture = self._pixels(frame, "rgb24")
        return torch.from_numpy(np.ascontiguousarray(_upright(picture, frame)))

    def _pixels(self, frame: "VideoFrame", pixel_format: str) -> np.ndarray:
        height, width = self._size
        stretched = (frame.height, frame.width) != self._size
        converted = self._reformatter.reformat(
            frame,
            width=width,
            height=height,
            format=pixel_format,
            interpolation="BICUBIC" if stretched else None,
            threads=CONVERSION_THREADS,
        )
        return converted.to_ndarray()


def _upright(picture: np.ndarray, frame: "VideoFrame") -> np.ndarray:
    """The picture turned and mirrored by its display matrix, in steps of 90 degrees.

    The matrix maps a stored pixel (x, y) to (a x + c y, b x + d y); its numbers are a b u c d v ...
    """
    matrix = frame.side_data.get("DISPLAYMATRIX") if frame.side_data else None
    if matrix is None:
        return picture
    a, b, _, c, d = np.frombuffer(bytes(matrix), dtype=np.int32)[:5].tolist()
    if abs(b) + abs(c) > abs(a) + abs(d):
        picture, a, d = np.swapaxes(picture, 0, 1), c, b
    if a < 0:
        picture = picture[:, ::-1]
    return picture[::-1] if d < 0 else picture
