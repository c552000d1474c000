"""Depth from a user's file, which covers the whole picture at any resolution."""

from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from ...geometry.fit import WHOLE, Fit, Region, sample_region
from ...io.depth_file import StoredDepth, read_depth_file
from ..estimate import DepthEstimate, assumed_intrinsics


class FileDepth:
    """A backend for pictures: the first depth map of a file (see `src/io/depth_file.py`)."""

    scene_scale = False

    def __init__(self, path: Path) -> None:
        self.name, self._path = path.name, path

    def __call__(self, image: Float[Tensor, "3 h w"], region: Region = WHOLE) -> DepthEstimate:
        """The part of the map under the region, at the size of the picture."""
        height, width = image.shape[1:]
        stored = read_depth_file(self._path, [0])
        return cut_depth(stored, 0, size=(height, width), region=region)


def cut_depth(
    stored: StoredDepth, row: int, size: tuple[int, int], region: Region = WHOLE
) -> DepthEstimate:
    """The region of one stored map at `size` (height, width), with its or assumed intrinsics."""
    source = stored.depth[row : row + 1]
    known = source.isfinite() & (source > 0)
    # The mean of the known ones among four pixels.
    maps = torch.cat([source.where(known, 0), known.float()])
    total, weight = sample_region(maps, region, size)
    mask = sample_region(maps[1:], region, size, mode="nearest")[0] > 0
    mask = mask & (weight > 0)
    depth = (total / weight).where(mask, torch.inf)
    if stored.intrinsics is None:
        intrinsics = assumed_intrinsics(size[0], size[1], region)
    else:
        height, width = stored.depth.shape[1:]
        fit = Fit(source=(height, width), target=size, region=region, content=size, offset=(0, 0))
        intrinsics = fit.intrinsics(stored.intrinsics[row])
    return DepthEstimate(depth, mask, intrinsics)
