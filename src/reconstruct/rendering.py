"""Renders a scene from its targets, trajectory by trajectory; measures how close to its references.

Frames are 8-bit, depths z in scene units.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..evaluation.metrics import SSIM_WINDOW, psnr, ssim
from ..gaussians import Gaussians
from ..io.image import to_uint8
from ..io.json_object import write_json
from ..models.data.example import Example, Targets
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
