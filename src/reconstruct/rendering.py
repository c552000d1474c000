"""Renders a scene from its targets: 8-bit frames and depths, trajectory by trajectory."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..gaussians import Gaussians
from ..io.image import to_uint8
from ..models.data.example import Targets
from ..rendering.options import RasterizeOptions
from ..rendering.rasterize import Backend, rasterize

# Limits the float frames in memory: 18 MB each at 704x1280.
FRAMES_PER_BATCH = 8


@dataclass(frozen=True)
class RenderedTrajectory:
    """The rendered targets of one trajectory, on the device that rendered them.

    `position` is the place of the trajectory in the input, `targets` are places in the scene's
    targets; `depth` is z in scene units, None if it was not asked for.
    """

    position: int
    targets: Int[Tensor, " frame"]
    color: UInt8[Tensor, "frame h w 3"]
    depth: Float[Tensor, "frame h w"] | None


def render_trajectories(
    gaussians: Gaussians, targets: Targets, options: RasterizeOptions, backend: Backend = "auto"
) -> Iterator[RenderedTrajectory]:
    """Yields every trajectory that has targets, in the order of the input.

    Takes one colour pass a frame and, if the options ask for depth, one depth pass.
    """
    for position in targets.trajectory.unique().tolist():
        chosen = (targets.trajectory == position).nonzero()[:, 0]
        colors, depths = [], []
        for batch in chosen.split(FRAMES_PER_BATCH):
            cameras = targets.cameras[batch].to(gaussians.device)
            rendered = rasterize(gaussians, cameras, options, backend=backend)
            # Bytes in the encoder's order already here: floats never leave the device.
            colors.append(to_uint8(rendered.color, 0, 1).permute(0, 2, 3, 1).contiguous())
            depths.append(rendered.depth[:, 0])
        depth = torch.cat(depths) if options.depth else None
        color = torch.cat(colors)
        yield RenderedTrajectory(position=position, targets=chosen, color=color, depth=depth)
