"""Pictures and their cameras at another size: cropped, padded or stretched.

A region is a box `(left, top, right, bottom)` as fractions of a picture's width and height, so that
it means the same part of a depth map of another size. Pixel centres are half-integer where pictures
are resized; intrinsics follow as `scale * value + offset`.
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
    """The way from pictures of `source` size to pictures of `target` size (height, width).

    `region` is resized to `content` size and placed at `offset` (row, column), bars around it.
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
        # Not rounded to whole pixels: square pixels stay square.
        box = (left * width, top * height, right * width, bottom * height)
        picture = Image.fromarray(image.cpu().numpy())
        # Large reductions in two steps: 8k-wide pictures in a quarter of the time.
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

    `crop` keeps square pixels and cuts both sides, `pad` keeps square pixels and leaves bars,
    `stretch` keeps the whole picture but not square pixels (as published).
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
    return Fit(source=(height, width), target=target, region=region, content=content, offset=offset)


def cover_size(height: int, width: int, target: tuple[int, int]) -> tuple[int, int]:
    """The size, in whole pixels, at which a picture just covers `target` (height, width)."""
    scale = max(target[0] / height, target[1] / width)
    return max(round(height * scale), target[0]), max(round(width * scale), target[1])


def cut_middle(
    pictures: Shaped[Tensor, "*batch h w"], target: tuple[int, int]
) -> Shaped[Tensor, "*batch target_h target_w"]:
    """The middle of pictures; the smaller half of an odd margin lies above and to the left."""
    height, width = pictures.shape[-2:]
    top, left = (height - target[0]) // 2, (width - target[1]) // 2
    return pictures[..., top : top + target[0], left : left + target[1]]


def sample_region(
    picture: Float[Tensor, "channel h w"],
    region: Region,
    size: tuple[int, int],
    mode: Literal["bilinear", "nearest"] = "bilinear",
) -> Float[Tensor, "channel {size[0]} {size[1]}"]:
    """The region at `size` (height, width), without antialiasing; borders are repeated."""
    (left, top, right, bottom), (height, width) = region, size
    like = {"dtype": torch.float64, "device": picture.device}
    columns = left + (right - left) * (torch.arange(width, **like) + 0.5) / width
    rows = top + (bottom - top) * (torch.arange(height, **like) + 0.5) / height
    y, x = torch.meshgrid(2 * rows - 1, 2 * columns - 1, indexing="ij")
    grid = torch.stack((x, y), dim=-1).to(picture.dtype)
    return F.grid_sample(
        picture[None], grid[None], mode=mode, padding_mode="border", align_corners=False
    )[0]
