"""Pictures brought to another size and shape: cropped, padded or stretched, with their cameras.

A region is a box `(left, top, right, bottom)` of a picture as fractions of its width and height, so
that it also means the same part of a depth map of another size. Pixel centres are half-integer
where pictures are resized; intrinsics follow as `scale * value + offset`.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Shaped, UInt8
from torch import Tensor

from ..runtime import InputError

FitMode = Literal["crop", "pad", "stretch"]
Region = tuple[float, float, float, float]
WHOLE: Region = (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True)
class Fit:
    """How pictures of `source` size become pictures of `target` size (height, width).

    `region` of the picture is resized to `content` size, which covers the target from `offset`
    (row, column) on; what it does not cover are bars.
    """

    source: tuple[int, int]
    target: tuple[int, int]
    region: Region
    content: tuple[int, int]
    offset: tuple[int, int]

    def resize(self, image: UInt8[Tensor, "h w 3"]) -> UInt8[Tensor, "content_h content_w 3"]:
        """The region of the picture at content size, with antialiasing (bicubic)."""
        from PIL import Image

        height, width = image.shape[:2]
        assert (height, width) == self.source, f"a picture of {(height, width)}, not {self.source}"
        left, top, right, bottom = self.region
        # The edges of the box are fractions of pixels: square pixels stay square.
        box = (left * width, top * height, right * width, bottom * height)
        picture = Image.fromarray(image.cpu().numpy())
        # In two steps where much is reduced: 8k-wide pictures in a quarter of the time.
        rows, columns = self.content
        resized = picture.resize((columns, rows), Image.Resampling.BICUBIC, box, 3.0)
        return torch.from_numpy(np.array(resized))

    def paste(
        self, content: Shaped[Tensor, "content_h content_w *channel"]
    ) -> Shaped[Tensor, "target_h target_w *channel"]:
        """The content in a frame of target size, zeros around it."""
        (top, left), (height, width) = self.offset, self.content
        if self.content == self.target:
            return content
        frame = content.new_zeros(*self.target, *content.shape[2:])
        frame[top : top + height, left : left + width] = content
        return frame

    def intrinsics(self, intrinsics: Float[Tensor, "*batch 4"]) -> Float[Tensor, "*batch 4"]:
        """Intrinsics of the source's pixels as those of the target's."""
        (height, width), (rows, columns) = self.source, self.content
        left, top, right, bottom = self.region
        sx, sy = columns / (width * (right - left)), rows / (height * (bottom - top))
        scale = intrinsics.new_tensor([sx, sy, sx, sy])
        shift = (self.offset[1] - left * width * sx, self.offset[0] - top * height * sy)
        return intrinsics * scale + intrinsics.new_tensor([0, 0, *shift])


def plan_fit(height: int, width: int, target: tuple[int, int], mode: FitMode = "crop") -> Fit:
    """The fit of a picture of `height` x `width` to `target` size (height, width).

    `crop` keeps square pixels and cuts what is too much at both sides, `pad` keeps square pixels
    and leaves bars, `stretch` keeps the whole picture and no square pixels (as published).
    """
    assert mode in get_args(FitMode), f"mode {mode!r}"
    rows, columns = target
    if min(height, width, rows, columns) < 1:
        raise InputError("picture size", f"{height}x{width} to {rows}x{columns}", "sizes >= 1")
    scales = (rows / height, columns / width)
    region, content = WHOLE, target
    if mode == "crop":
        scale = max(scales)
        spare_y, spare_x = (1 - s / scale for s in scales)
        region = (spare_x / 2, spare_y / 2, 1 - spare_x / 2, 1 - spare_y / 2)
    elif mode == "pad":
        scale = min(scales)
        content = (max(round(height * scale), 1), max(round(width * scale), 1))
    offset = ((rows - content[0]) // 2, (columns - content[1]) // 2)
    return Fit((height, width), target, region, content, offset)


def sample_region(
    picture: Float[Tensor, "channel h w"],
    region: Region,
    height: int,
    width: int,
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> Float[Tensor, "channel {height} {width}"]:
    """The region at `height` x `width` pixels, without antialiasing; borders are repeated."""
    left, top, right, bottom = region
    like = {"dtype": torch.float64, "device": picture.device}
    columns = left + (right - left) * (torch.arange(width, **like) + 0.5) / width
    rows = top + (bottom - top) * (torch.arange(height, **like) + 0.5) / height
    y, x = torch.meshgrid(2 * rows - 1, 2 * columns - 1, indexing="ij")
    grid = torch.stack((x, y), dim=-1).to(picture.dtype)
    return F.grid_sample(
        picture[None], grid[None], mode=mode, padding_mode="border", align_corners=False
    )[0]
