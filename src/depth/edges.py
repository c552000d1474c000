"""Edges of depth are moved to edges of the picture.

A small network blurs the step between a thing and what is behind it. The pixels of such a ramp
belong to neither, and tear when the camera moves. Each gets the depth of neighbours that look like
it: their median, weighted by likeness (Ma et al. 2013, "Constant time weighted median filtering").
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

# The rows of a picture for one step between neighbours, and the steps to the farthest one.
ROWS_OF_A_STEP, STEPS = 128, 4
# The deviations of the weights: in colour (RGB in [0, 1]), and in steps.
COLOR, SPACE = 0.05, 3.0
# A ramp is where log depth differs by more than this within two steps; from twice as much on the
# median takes its place.
RAMP = 0.2


def snap_edges(
    log_depth: Float[Tensor, "h w"], image: Float[Tensor, "3 h w"]
) -> Float[Tensor, "h w"]:
    """Log depth with its ramps moved to the edges of a picture (RGB in [0, 1])."""
    step = max(round(len(log_depth) / ROWS_OF_A_STEP), 1)
    near = 4 * step + 1
    high, low = (
        F.max_pool2d(part[None], near, 1, near // 2)[0] for part in (log_depth, -log_depth)
    )
    share = ((high + low - RAMP) / RAMP).clamp(0, 1)
    rows, columns = share.nonzero(as_tuple=True)
    offset = step * torch.arange(-STEPS, STEPS + 1, device=image.device)
    reach = step * STEPS
    down, right = (part.flatten() for part in torch.meshgrid(offset, offset, indexing="ij"))
    table = F.pad(torch.cat([image, log_depth[None]])[None], [reach] * 4, mode="replicate")[0]
    found = table[:, rows[:, None] + reach + down, columns[:, None] + reach + right]
    depth = found[3]
    unlike = (found[:3] - image[:, rows, columns, None]).square().sum(0) / COLOR**2
    away = (down.square() + right.square()) / (SPACE * step) ** 2
    weight = torch.exp(-(unlike + away) / 2)
    depth, order = depth.sort(dim=1)
    total = weight.gather(1, order).cumsum(dim=1)
    # The first one that reaches half of the weight.
    middle = (total >= total[:, -1:] / 2).byte().argmax(dim=1)
    median = depth.gather(1, middle[:, None])[:, 0]
    result = log_depth.clone()
    result[rows, columns] = torch.lerp(log_depth[rows, columns], median, share[rows, columns])
    return result
