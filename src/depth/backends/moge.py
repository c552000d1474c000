"""Pictures for MoGe, and its result at the generator's size.

Images are RGB; `uint8` ones are height x width x 3, float ones 3 x height x width. As published,
they are resized with half-pixel centres and no antialiasing, so not by `geometry/fit.py`.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from ...geometry.fit import plan_fit
from ...runtime import InputError
from ..estimate import DepthEstimate, clamp_depth

DEPTH_HEIGHT, DEPTH_WIDTH = 720, 1280
# The depth of pixels without one, before the resize blends them into their neighbours.
UNKNOWN_DEPTH = 1000.0
FARTHEST_DEPTH = 1e4


@dataclass(frozen=True)
class PreparedImage:
    """One image with its depth at the generator's size; its camera is the world origin."""

    image: Float[Tensor, "3 h w"]  # RGB in [-1, 1]
    estimate: DepthEstimate
    w2c: Float[Tensor, "4 4"]


def depth_model_input(
    image: UInt8[Tensor, "h w 3"], height: int = DEPTH_HEIGHT, width: int = DEPTH_WIDTH
) -> Float[Tensor, "3 {height} {width}"]:
    """The image stretched to the size at which depth is estimated, RGB in [0, 1].

    Values are multiples of 1/255. As published, other aspect ratios are distorted; the estimated
    intrinsics then describe the stretched image.
    """
    return resize_uint8(image, height, width).permute(2, 0, 1).float() / 255


def moge_estimate(
    depth: Float[Tensor, "h w"], mask: Bool[Tensor, "h w"], normalised_K: Float[Tensor, "3 3"]
) -> DepthEstimate:
    """MoGe's result as an estimate; `normalised_K` has row 0 over width, row 1 over height."""
    height, width = depth.shape
    fx, fy = normalised_K[0, 0] * width, normalised_K[1, 1] * height
    cx, cy = normalised_K[0, 2] * width, normalised_K[1, 2] * height
    return DepthEstimate(depth, mask, torch.stack((fx, fy, cx, cy)))


def prepare_image(
    image: Float[Tensor, "3 h w"], estimate: DepthEstimate, height: int, width: int
) -> PreparedImage:
    """The image that depth was estimated on, and its depth, at `height` x `width`.

    `image` is RGB in [0, 1]. Depth is in [0, 1e4] and finite: unknown depth counts as 1000 and
    blends into its neighbours. Intrinsics scale axis by axis, so `fx != fy` if the aspect ratio
    changes. The mask has the pixels whose nearest source pixel has a depth.
    """
    if image.shape[1:] != estimate.depth.shape:
        expected = f"the depth's size {tuple(estimate.depth.shape)}"
        raise InputError("image of a depth map", f"size {tuple(image.shape[1:])}", expected)
    # Infinite depth would make the pixels that it blends into infinite or NaN.
    known = torch.where(estimate.mask, estimate.depth, UNKNOWN_DEPTH)
    depth = clamp_depth(_bilinear(known[None], height, width)[0], FARTHEST_DEPTH)
    mask = functional.interpolate(estimate.mask[None, None].float(), (height, width))[0, 0] > 0
    fit = plan_fit(image.shape[1], image.shape[2], (height, width), mode="stretch")
    return PreparedImage(
        image=2 * _bilinear(image, height, width) - 1,
        estimate=DepthEstimate(depth, mask, fit.intrinsics(estimate.intrinsics)),
        w2c=torch.eye(4, dtype=depth.dtype, device=depth.device),
    )


def resize_uint8(
    image: UInt8[Tensor, "h w channel"], height: int, width: int
) -> UInt8[Tensor, "{height} {width} channel"]:
    """The image bilinearly resized in fixed-point arithmetic, bit for bit as by OpenCV.

    Weights have 11 bits. Rows are blended with truncated products, so results lie up to 0.75 below
    the real-valued resize; a rounded resize differs in a tenth of the values.
    """
    low, high, low_weight, high_weight = _fixed_point_taps(image.shape[1], width, image.device)
    rows = image.int()
    rows = rows[:, low] * low_weight[:, None] + rows[:, high] * high_weight[:, None]
    low, high, low_weight, high_weight = _fixed_point_taps(image.shape[0], height, image.device)
    above = ((rows[low] >> 4) * low_weight[:, None, None]) >> 16
    below = ((rows[high] >> 4) * high_weight[:, None, None]) >> 16
    return ((above + below + 2) >> 2).to(torch.uint8)


def _fixed_point_taps(
    size: int, resized: int, device: torch.device
) -> tuple[Int[Tensor, " {resized}"], ...]:
    """Indices of the two pixels around each resized one, and their weights times 2048."""
    steps = torch.arange(resized, dtype=torch.float64, device=device)
    # As OpenCV: positions in double, fractions in single precision.
    position = ((steps + 0.5) * (size / resized) - 0.5).float()
    index = position.floor()
    fraction = position - index
    low, high = index.long().clamp(0, size - 1), (index.long() + 1).clamp(0, size - 1)
    return low, high, (2048 * (1 - fraction)).round().int(), (2048 * fraction).round().int()


def _bilinear(
    image: Float[Tensor, "channel h w"], height: int, width: int
) -> Float[Tensor, "channel {height} {width}"]:
    size = (height, width)
    return functional.interpolate(image[None], size, mode="bilinear", align_corners=False)[0]
