"""The sources of a 3D cache: a user's picture or video with depth, at the generator's size."""

from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ..geometry.cameras import intrinsics_to_matrix
from ..geometry.fit import Fit, FitMode, plan_fit
from ..io.video.video import iterate_video, video_info
from ..runtime import InputError
from .backends.choice import DepthBackend, in_scene_unit
from .backends.moge import PreparedImage, prepare_image, resize_uint8
from .backends.video import VideoDepthBackend, VideoFrames
from .backends.vipe import PosedDepthVideo
from .estimate import DepthEstimate

# The published depth is estimated at 720 rows for 704.
PUBLISHED_ROWS = (720, 704)


@dataclass(frozen=True)
class StillSource:
    """A picture ready for the cache, and the first frame of the clips.

    As published, `picture` is not yet stretched to the target size; `divisor` is that of the depth.
    """

    prepared: PreparedImage
    picture: UInt8[Tensor, "h w 3"]
    divisor: float


def still_source(
    image: UInt8[Tensor, "h w 3"],
    backend: DepthBackend,
    target: tuple[int, int],
    mode: FitMode = "crop",
) -> StillSource:
    """The picture and its depth at `target` size (height, width).

    `crop` and `pad` keep square pixels and estimate depth on the picture at its final size. Bars of
    a padded picture are black and have no depth, so that the generator fills them. `stretch` is
    the published way: depth is estimated on the picture stretched to slightly more rows.
    """
    if mode == "stretch":
        rows = round(target[0] * PUBLISHED_ROWS[0] / PUBLISHED_ROWS[1])
        values = _unit_values(resize_uint8(image, rows, target[1]))
        estimate, divisor = in_scene_unit(backend(values), backend)
        values = values.to(estimate.depth.device)
        prepared = prepare_image(values, estimate, height=target[0], width=target[1])
        return StillSource(prepared, image, divisor)
    fit = plan_fit(image.shape[0], image.shape[1], target, mode=mode)
    content = fit.resize(image)
    values = _unit_values(content)
    estimate, divisor = in_scene_unit(backend(values, fit.region), backend)
    return StillSource(_framed(values, estimate, fit), fit.paste(content), divisor)


def video_source(
    path: Path | str,
    backend: VideoDepthBackend,
    target: tuple[int, int],
    mode: FitMode = "crop",
    frames: range = range(121),
) -> tuple[PosedDepthVideo, float]:
    """Frames of a still camera's video with depth, and its divisor; the last frame repeats."""
    if not frames or frames.start < 0 or frames.step != 1:
        raise InputError(path, f"the frames {frames}", "one or more consecutive frames from 0 on")
    info = video_info(path)
    fit = plan_fit(info.height, info.width, target, mode=mode)
    last = info.num_frames - 1
    wanted = sorted({min(index, last) for index in frames})
    pictures = [_unit_values(fit.resize(rgb)) for _, rgb in iterate_video(path, wanted)]
    shown = VideoFrames(torch.stack(pictures), fit.region, wanted)
    depth, divisor = in_scene_unit(backend(shown), backend)
    framed = [_framed(picture, depth.frame(row), fit) for row, picture in enumerate(pictures)]
    chosen = [framed[wanted.index(min(index, last))] for index in frames]
    K = intrinsics_to_matrix(chosen[0].estimate.intrinsics)
    video = PosedDepthVideo(
        image=torch.stack([frame.image for frame in chosen]),
        depth=torch.stack([frame.estimate.depth[None] for frame in chosen]),
        mask=torch.stack([frame.estimate.mask[None].float() for frame in chosen]),
        w2c=torch.stack([frame.w2c for frame in chosen]),
        K=K.repeat(len(chosen), 1, 1),
        fps=info.fps,
    )
    return video, divisor


def _unit_values(image: UInt8[Tensor, "h w 3"]) -> Float[Tensor, "3 h w"]:
    """Bytes as RGB in [0, 1]."""
    return image.permute(2, 0, 1).float() / 255


def _framed(
    values: Float[Tensor, "3 content_h content_w"], estimate: DepthEstimate, fit: Fit
) -> PreparedImage:
    """The fitted picture and its depth at target size."""
    values = values.to(estimate.depth.device)
    inside = prepare_image(values, estimate, height=fit.content[0], width=fit.content[1])
    # Bars are black: -1.
    image = fit.paste((inside.image + 1).movedim(0, -1)).movedim(-1, 0) - 1
    top, left = fit.offset
    intrinsics = inside.estimate.intrinsics
    intrinsics = intrinsics + intrinsics.new_tensor([0, 0, left, top])
    depth, mask = fit.paste(inside.estimate.depth), fit.paste(inside.estimate.mask)
    return PreparedImage(image, DepthEstimate(depth, mask, intrinsics), inside.w2c)
