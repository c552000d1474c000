"""A coarse mesh over the depth edges of frames, which hides the background behind them.

Warped points leave gaps through which the background would show; the mesh spans them.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from .triangles import triangle_depth

# The published mesh has one vertex for 4 x 4 pixels.
DOWNSAMPLING = 4
# The two triangles of a quad whose corners are numbered row by row.
HALVES = ((0, 1, 2), (1, 3, 2))


@dataclass(frozen=True)
class BoundaryMesh:
    """A grid of world points for each source frame, and a mask of the quads that exist."""

    vertices: Float[Tensor, "source rows columns 3"]
    quads: Bool[Tensor, "source rows-1 columns-1"]

    def depth(
        self,
        source: Int[Tensor, " target"],
        intrinsics: Float[Tensor, "target 4"],
        w2c: Float[Tensor, "target 4 4"],
        size: tuple[int, int],
    ) -> Float[Tensor, "target h w"]:
        """Depth of mesh `source[i]` in target `i` of `size` (height, width); inf where none is."""
        target, row, column = self.quads[source].nonzero(as_tuple=True)
        frame = source[target]
        corners = [self.vertices[frame, row + y, column + x] for y in (0, 1) for x in (0, 1)]
        pose = w2c.double()[target]
        quads = torch.stack(corners, dim=1).double() @ pose[:, :3, :3].mT + pose[:, None, :3, 3]
        triangles = quads[:, HALVES].flatten(0, 1)
        owner = target.repeat_interleave(len(HALVES))
        return triangle_depth(triangles, target=owner, intrinsics=intrinsics.double(), size=size)


def boundary_mesh(
    points: Float[Tensor, "source h w 3"],
    boundary: Bool[Tensor, "source h w"],
    *,
    drop_invalid: bool = False,
) -> BoundaryMesh:
    """The mesh of quads that have a corner in `boundary`, at a quarter of the resolution.

    `drop_invalid` leaves out quads that touch the world's origin, the point of unknown depth.
    """
    height, width = points.shape[1:3]
    size = (max(height // DOWNSAMPLING, 1), max(width // DOWNSAMPLING, 1))
    vertices = F.interpolate(points.movedim(-1, 1), size, mode="bilinear", align_corners=False)
    chosen = any_corner(F.interpolate(boundary[:, None].float(), size, mode="nearest")[:, 0] > 0)
    if drop_invalid:
        invalid = (points == 0).all(dim=-1)[:, None].float()
        weight = F.interpolate(invalid, size, mode="bilinear", align_corners=False)[:, 0]
        chosen = chosen & ~any_corner(weight > 0)
    return BoundaryMesh(vertices.movedim(1, -1), chosen)


def any_corner(
    vertices: Bool[Tensor, "source rows columns"],
) -> Bool[Tensor, "source rows-1 columns-1"]:
    """A mask of the quads of a grid that have a corner set."""
    upper, lower = vertices[:, :-1], vertices[:, 1:]
    return upper[..., :-1] | upper[..., 1:] | lower[..., :-1] | lower[..., 1:]
