"""What is looked at during a training."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from ...io.image.pixels import round_to_uint8
from ...visualization.depth import colorize_depth
from ...visualization.sheet import contact_sheet

# Frames of a scene, and the largest width of each.
FRAMES, WIDTH = 4, 320


def comparison(
    color: Float[Tensor, "frame 3 h w"],
    depth: Float[Tensor, "frame h w"],
    reference: Float[Tensor, "frame 3 h w"],
) -> UInt8[Tensor, "sheet_h sheet_w 3"]:
    """A row each of rendered frames, reference frames and rendered depth, at most four frames."""
    chosen = torch.linspace(0, len(color) - 1, min(FRAMES, len(color))).round().long()
    drawn = colorize_depth(depth.cpu()[chosen]).movedim(-1, 1).float() / 255
    rows = torch.stack([color.cpu()[chosen], reference.cpu()[chosen], drawn])
    # Sheets of scenes with fewer frames are as wide, to be stacked.
    rows = F.pad(rows, (0, 0, 0, 0, 0, 0, 0, FRAMES - len(chosen)), value=1.0).flatten(0, 1)
    if rows.shape[-1] > WIDTH:
        scale = WIDTH / rows.shape[-1]
        rows = F.interpolate(rows, scale_factor=scale, mode="area")
    pictures = round_to_uint8(rows).movedim(1, -1)
    return contact_sheet(pictures, columns=FRAMES)
