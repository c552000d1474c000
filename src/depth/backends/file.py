"""Depth from a file that a user brings; it covers the user's whole picture, at any resolution."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ...geometry.fit import WHOLE, Fit, Region, sample_region
from ...io.depth_file import StoredDepth, read_depth_file
from ..estimate import DepthEstimate
from ..lens import assumed_intrinsics


@dataclass(frozen=True)
class FileDepth:
    """A backend for pictures: one depth map of a file (see `src/io/depth_file.py`)."""

    path: Path
    frame: int = 0
    scene_scale = False

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    def __call__(self, image: Float[Tensor, "3 h w"], region: Region = WHOLE) -> DepthEstimate:
        """The part of the map under the region, at the size of the picture."""
        height, width = image.shape[1:]
        return cut_depth(read_depth_file(self.path, [self.frame]), 0, (height, width), region)


def cut_depth(
    stored: StoredDepth, row: int, size: tuple[int, int], region: Region = WHOLE
) -> DepthEstimate:
    """The region of one stored map at `size` (height, width).

    Intrinsics are those of the file, moved along with the cut, or assumed ones.
    """
    source = stored.depth[row : row + 1]
    known = source.isfinite() & (source > 0)
    # The mean of the known ones among four pixels; blending in unknown ones would make it wrong.
    maps = torch.cat([source.where(known, 0), known.float()])
    total, weight = sample_region(maps, region, size)
    mask = sample_region(maps[1:], region, size, mode="nearest")[0] > 0
    mask = mask & (weight > 0)
    depth = (total / weight).where(mask, torch.inf)
    if stored.intrinsics is None:
        intrinsics = assumed_intrinsics(*size, region)
    else:
        height, width = stored.depth.shape[1:]
        fit = Fit((height, width), size, region, content=size, offset=(0, 0))
        intrinsics = fit.intrinsics(stored.intrinsics[row])
    return DepthEstimate(depth, mask, intrinsics)
