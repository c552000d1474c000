"""Which pixels of a depth map belong to one surface.

Depth networks smear the edge of a near surface onto the background: points there float in the air
when the camera moves.
"""

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

WINDOW = 5


def reliable_mask(
    depth: Float[Tensor, "*batch h w"], threshold: float
) -> Bool[Tensor, "*batch h w"]:
    """Where depth is positive and varies by less than `threshold` of its mean in 5x5 windows.

    The measure is `(max - min) / (mean + 1e-6)`. Beyond the frame, maximum and minimum see nothing
    but the mean sees zeros (as published): the frame's border is filtered more strictly. Pixels
    with NaN in their window are not reliable.
    """
    maps = depth.reshape(-1, 1, *depth.shape[-2:])
    padding = WINDOW // 2
    farthest = F.max_pool2d(maps, WINDOW, stride=1, padding=padding)
    nearest = -F.max_pool2d(-maps, WINDOW, stride=1, padding=padding)
    mean = F.avg_pool2d(maps, WINDOW, stride=1, padding=padding, count_include_pad=True)
    reliable = ((farthest - nearest) / (mean + 1e-6) < threshold) & (maps > 0)
    return reliable.reshape(depth.shape)
