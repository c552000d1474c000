"""Videos of several scenes at once, joined from the finished videos of each."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...io.video.video import iterate_video, video_header, write_video
from ...visualization import contact_sheet
from ..config import OutputConfig
from ..outputs import File, OutputTree

QUALITY = 5


def write_grids(tree: OutputTree, indices: Sequence[int], config: OutputConfig) -> None:
    """Writes grids of `config.grid_scenes` scenes each: everything, renderings and inputs.

    A grid is left out if one of its scenes has no such video.
    """
    kinds = {"sample": File.FULL, "rgb": File.MAIN, "input": File.INPUT}
    step = config.grid_scenes
    for number, start in enumerate(range(0, len(indices), step)):
        for kind, file in kinds.items():
            paths = [tree.path(file, index) for index in indices[start : start + step]]
            if all(path.is_file() for path in paths):
                path = tree.root / f"grid/{kind}_grid_{number}.mp4"
                write_video(path, _tiled(paths), config.fps, quality=QUALITY)


def _tiled(paths: Sequence[Path]) -> Iterator[UInt8[Tensor, "1 sheet_h sheet_w 3"]]:
    """Yields the frames of equally large videos next to each other, up to the shortest's end.

    A square number of videos makes a square, any other one row.
    """
    side = math.isqrt(len(paths))
    columns = side if side * side == len(paths) else len(paths)
    length = min(video_header(path).num_frames for path in paths)
    streams = [iterate_video(path, range(length)) for path in paths]
    for frames in zip(*streams, strict=True):
        pictures = torch.stack([picture for _, picture in frames])
        yield contact_sheet(pictures, columns, gap=0)[None]
