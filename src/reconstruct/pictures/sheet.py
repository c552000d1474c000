"""The sheet of a scene: its input, then a row for each trajectory with clip, rendering, depth."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Shaped, UInt8
from torch import Tensor

from ...geometry.fit import plan_fit
from ...io.image import is_picture, is_video, read_image, to_uint8
from ...io.video.video import iterate_video, video_info
from ...visualization import colorize_depth, contact_sheet, depth_range
from ..rendering import RenderedTrajectory

# Wider pictures are reduced to this width, so that the sheet stays a small file.
WIDEST = 320


def ends_and_middle(count: int) -> list[int]:
    """Returns the places of the first, the middle and the last of `count` things."""
    return [0, (count - 1) // 2, count - 1]


def read_input(meta: Mapping[str, object], num_frames: int) -> list[UInt8[Tensor, "h w 3"]]:
    """Reads the picture, or three frames of the video, that a clip was made from.

    `meta` is the description of the clip, which names its input; empty if that is gone.
    """
    path = Path(str(meta.get("input") or ""))
    if not path.is_file():
        return []
    if is_picture(path):
        return [read_image(path)]
    if not is_video(path):
        return []
    settings = meta.get("settings")
    start = settings.get("start") if isinstance(settings, Mapping) else 0
    first = start if isinstance(start, int) else 0
    last = video_info(path).num_frames - 1
    wanted = [min(first + place, last) for place in ends_and_middle(num_frames)]
    pictures = dict(iterate_video(path, sorted(set(wanted))))
    return [pictures[index] for index in wanted]


def scene_sheet(
    source: Sequence[UInt8[Tensor, "_ _ 3"]],
    rendered: Sequence[RenderedTrajectory],
    reference: UInt8[Tensor, "target h w 3"] | None,
) -> UInt8[Tensor, "sheet_h sheet_w 3"]:
    """Returns the sheet: the input in the first row, a trajectory in each other row.

    A row shows the first, middle and last frame of the clip (if there is a `reference`), of the
    rendering, and of its depth (one scale for all, near is warm).
    """
    depths = [part.depth for part in rendered if part.depth is not None]
    limits = depth_range(torch.cat(depths)) if depths else None
    rows = []
    for part in rendered:
        places = ends_and_middle(len(part.targets))
        shown = [] if reference is None else [reference[part.targets[places]]]
        shown.append(part.color[places].cpu())
        if part.depth is not None and limits is not None:
            shown.append(colorize_depth(part.depth[places], limits).cpu())
        rows.append(_small(torch.cat(shown)))
    columns, height, width, _ = rows[0].shape
    if source:
        header = rows[0].new_full((columns, height, width, 3), 255)
        for place, picture in enumerate(source):
            fit = plan_fit(picture.shape[0], picture.shape[1], (height, width), "crop")
            header[place] = fit.paste(fit.resize(picture))
        rows.insert(0, header)
    return contact_sheet(torch.cat(rows), columns)


def _small(
    pictures: Shaped[Tensor, "picture h w 3"],
) -> UInt8[Tensor, "picture small_h small_w 3"]:
    """Returns the pictures, reduced if they are wide."""
    height, width = pictures.shape[1:3]
    if width <= WIDEST:
        return pictures
    size = (round(height * WIDEST / width), WIDEST)
    values = pictures.movedim(-1, 1).float() / 255
    reduced = F.interpolate(values, size, mode="area")
    return to_uint8(reduced, 0, 1).movedim(1, -1).contiguous()
