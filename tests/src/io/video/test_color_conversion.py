from collections.abc import Callable

import av
import numpy as np
from torch import Tensor

from src.io.video.color_conversion import ColorConverter

Pictures = Callable[[int, int, int], Tensor]


def test_one_converter_serves_frames_of_all_kinds(pictures: Pictures) -> None:
    """What is kept of the frame before: its size, format or filter."""
    converter = ColorConverter()
    for height, width in ((36, 64), (36, 64), (48, 32), (176, 320), (36, 64)):
        picture = pictures(1, height, width)[0].numpy()
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        for filtered in ("BICUBIC", "BILINEAR", None):
            coded = converter(frame, "yuv420p", filtered)
            alone = frame.reformat(format="yuv420p", interpolation=filtered)
            assert np.array_equal(coded.to_ndarray(), alone.to_ndarray())
            again = converter(coded, "rgb24").to_ndarray()
            assert np.array_equal(again, alone.to_ndarray(format="rgb24"))
