"""Pictures, depth maps and cameras of a clip, fitted to the size of the examples."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ...geometry.cameras import Cameras

# Frames that are converted to float at once: 86 MB at 704x1280.
CHUNK = 8


@dataclass(frozen=True)
class ExampleFit:
    """The largest centred crop of pictures of size `source`, then a resize to size `target`.

    Pictures are resized bilinearly with antialiasing, depth to the nearest pixel. Cameras follow:
    `fx' = fx sx`, `cx' = (cx - left) sx`, with `sx` = new width / crop width.
    """

    source: tuple[int, int]
    target: tuple[int, int]

    @property
    def crop(self) -> tuple[int, int]:
        """The size of the largest box in the source with the aspect ratio of the target."""
        (height, width), (new_height, new_width) = self.source, self.target
        if width * new_height > height * new_width:
            return height, max(height * new_width // new_height, 1)
        return max(width * new_height // new_width, 1), width

    def cameras(self, cameras: Cameras) -> Cameras:
        """Returns the cameras of the fitted pictures; the box is exactly centred."""
        assert (cameras.height, cameras.width) == self.source, f"{cameras.height}x{cameras.width}"
        height, width = self.crop
        margins = (cameras.width - width, cameras.height - height)
        shift = cameras.intrinsics.new_tensor([0, 0, -margins[0] / 2, -margins[1] / 2])
        box = Cameras(cameras.c2w, cameras.intrinsics + shift, width, height)
        return box.resized(self.target[1], self.target[0])

    def color(
        self, frames: UInt8[Tensor, "frame h w 3"]
    ) -> UInt8[Tensor, "frame 3 new_h new_w"] | Float[Tensor, "frame 3 new_h new_w"]:
        """Returns the fitted pictures: unchanged if the size is right, else floats in [0, 1]."""
        pictures = frames.movedim(-1, 1)
        if self.source == self.target:
            return pictures
        return torch.cat([self._resize(chunk.float() / 255) for chunk in pictures.split(CHUNK)])

    def depth(self, depth: Float[Tensor, "frame h w"]) -> Float[Tensor, "frame new_h new_w"]:
        """Returns the fitted depth maps; unknown depth (not finite, not positive) becomes 0."""
        depth = torch.where(torch.isfinite(depth) & (depth > 0), depth, 0.0)
        if self.source == self.target:
            return depth
        (height, width), (crop_height, crop_width) = self.source, self.crop
        # Python rounds halves to even: an odd margin moves the box to the even side.
        top, left = round((height - crop_height) / 2), round((width - crop_width) / 2)
        box = depth[:, None, top : top + crop_height, left : left + crop_width]
        return F.interpolate(box, self.target, mode="nearest")[:, 0]

    def _resize(
        self, pictures: Float[Tensor, "frame 3 h w"]
    ) -> Float[Tensor, "frame 3 new_h new_w"]:
        for dim, size in ((-2, self.crop[0]), (-1, self.crop[1])):
            pictures = _centred(pictures, dim, size)
        return F.interpolate(
            pictures, self.target, mode="bilinear", antialias=True, align_corners=False
        )


def _centred(
    pictures: Float[Tensor, "frame 3 h w"], dim: int, size: int
) -> Float[Tensor, "frame 3 cropped_h cropped_w"]:
    """Returns the middle `size` rows or columns.

    With an odd margin it averages the two middle boxes: a box half a pixel off centre would
    contradict the cameras.
    """
    margin = pictures.shape[dim] - size
    low = pictures.narrow(dim, margin // 2, size)
    return low if margin % 2 == 0 else (low + pictures.narrow(dim, margin // 2 + 1, size)) / 2
