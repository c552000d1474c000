"""Videos of several scenes at once, put together from the finished videos of each."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import UInt8
from torch import Tensor

from ...io.video.video import iterate_video, video_header, write_video
from ...visualization.sheet import contact_sheet
from ..outputs import OutputConfig, OutputTree

QUALITY = 5


def write_grids(tree: OutputTree, indices: Sequence[int], config: OutputConfig) -> None:
    """Write grids of `config.grid_scenes` scenes each: everything, renderings and, if any, inputs.

    A video file of the grid appears for each kind that every one of its scenes has.
    """
    kinds: dict[str, Callable[[int], Path]] = {
        "sample": tree.full,
        "rgb": tree.main,
        "input": tree.input,
    }
    step = config.grid_scenes
    for number, start in enumerate(range(0, len(indices), step)):
        for kind, path_of in kinds.items():
            paths = [path_of(index) for index in indices[start : start + step]]
            if all(path.is_file() for path in paths):
                write_video(tree.grid(kind, number), _tiled(paths), config.fps, QUALITY)


def _tiled(paths: Sequence[Path]) -> Iterator[UInt8[Tensor, "1 sheet_h sheet_w 3"]]:
    """The frames of several videos of one size next to each other, up to the shortest's end.

    Square numbers make a square, others one row.
    """
    side = math.isqrt(len(paths))
    columns = side if side * side == len(paths) else len(paths)
    length = min(video_header(path).num_frames for path in paths)
    streams = [iterate_video(path, range(length)) for path in paths]
    for frames in zip(*streams, strict=True):
        pictures = torch.stack([picture for _, picture in frames])
        yield contact_sheet(pictures, columns, gap=0)[None]
