"""The pictures of a scene: rendered, compared with references, shown on sheets and grids.

Frames are 8-bit, depths z in scene units. A sheet shows the input, then a row for each trajectory
with clip, rendering and depth. A grid joins the finished videos of several scenes.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float, Int, Shaped, UInt8
from torch import Tensor

from ..evaluation.metrics import SSIM_WINDOW, psnr, ssim
from ..gaussians import Gaussians
from ..geometry.fit import plan_fit
from ..io.image import is_picture, is_video, read_image, to_uint8
from ..io.json_object import write_json
from ..io.video.video import iterate_video, video_header, video_info, write_video
from ..models.data.example import Example, Targets
from ..rendering.options import RasterizeOptions
from ..rendering.rasterize import Backend, rasterize
from ..runtime import InputError
from ..tokenizer.cosmos import VideoTokenizer
from ..visualization import colorize_depth, contact_sheet, depth_range
from .config import File, OutputConfig, OutputTree

# Limits the float frames in memory: 18 MB each at 704x1280.
FRAMES_PER_BATCH = 8
# Wider pictures are reduced to this width, so that the sheet stays a small file.
WIDEST = 320
# Out of 10; the published quality.
QUALITY = 5


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


def trajectory_quality(
    rendered: RenderedTrajectory, reference: UInt8[Tensor, "target h w 3"], example: Example
) -> list[dict[str, Any]]:
    """Compares each comparable frame of a trajectory, on the device of the rendering.

    Returns trajectory, frame, PSNR in dB (None for equal frames) and SSIM (None for frames that
    are smaller than its window) of each.
    """
    targets = example.targets
    name = (targets.names or example.trajectories)[rendered.position]
    found = []
    for batch in example.comparable()[rendered.targets].nonzero()[:, 0].split(FRAMES_PER_BATCH):
        places = rendered.targets[batch]
        ours = rendered.color[batch.to(rendered.color.device)].permute(0, 3, 1, 2) / 255
        theirs = reference[places].to(ours.device).permute(0, 3, 1, 2) / 255
        similarity: list[float | None] = [None] * len(batch)
        if min(ours.shape[-2:]) >= SSIM_WINDOW:
            similarity = list(ssim(ours, theirs).tolist())
        frames, decibels = targets.frame[places].tolist(), psnr(ours, theirs).tolist()
        for frame, ratio, similar in zip(frames, decibels, similarity, strict=True):
            ratio = ratio if math.isfinite(ratio) else None
            found.append({"trajectory": name, "frame": frame, "psnr": ratio, "ssim": similar})
    return found


def write_quality(path: Path, key: str, frames: list[dict[str, Any]]) -> None:
    """Writes the means over frames and the figures of each frame as JSON."""
    means = {name: _mean(frame[name] for frame in frames) for name in ("psnr", "ssim")}
    write_json(path, {"key": key, **means, "frames": frames})


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


@dataclass(frozen=True)
class References:
    """Reference frames and depths of all targets, on the CPU; None where unknown.

    `input` holds the input clips, one after another; `source` pictures of any size that the clips
    were made from.
    """

    color: UInt8[Tensor, "target h w 3"] | None = None
    depth: Float[Tensor, "target h w"] | None = None
    input: UInt8[Tensor, "all_frames h w 3"] | None = None
    source: Sequence[UInt8[Tensor, "_ _ 3"]] = ()


def find_references(
    example: Example,
    tokenizer: Callable[[], VideoTokenizer],
    config: OutputConfig,
    meta: Mapping[str, object],
) -> References:
    """Returns the known references; decodes latents if the output's settings ask for it.

    `tokenizer` returns the one that decodes. `meta` is the description of the first clip. Raises
    `InputError` if the input video is wanted, but the inputs are latents that are not decoded.
    """
    targets = example.targets
    color = targets.color
    if color is not None:
        color = color if color.dtype == torch.uint8 else to_uint8(color, 0, 1)
        color = color.permute(0, 2, 3, 1)
    clips = None
    if config.decode_latents:
        clips = _decode(example, tokenizer())
        color = clips[targets.trajectory, targets.frame]
    elif config.input_video:
        if example.video is None:
            expected = "input frames; latents need output.decode_latents (save_rgb_decoding)"
            raise InputError("output.input_video", f"latents of scene {example.key!r}", expected)
        clips = rearrange(to_uint8(example.video), "v c t h w -> v t h w c")
    wanted = config.sheet and not config.eval_only
    source = read_input(meta, len(example.source_times)) if wanted else ()
    shown = clips.flatten(0, 1) if clips is not None and config.input_video else None
    return References(color=color, depth=targets.depth, input=shown, source=source)


@torch.no_grad()
def _decode(example: Example, tokenizer: VideoTokenizer) -> UInt8[Tensor, "traj frame h w 3"]:
    """Decodes the latents, one trajectory at a time on the tokenizer's device."""
    if example.latents is None:
        expected = "latents on disk, to decode them"
        raise InputError("output.decode_latents", f"scene {example.key!r} read as video", expected)
    device = tokenizer.mean.device
    clips = [to_uint8(tokenizer.decode(latent[None].to(device)))[0] for latent in example.latents]
    return rearrange(torch.stack([clip.cpu() for clip in clips]), "v c t h w -> v t h w c")


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
