"""Measures how close renderings are to their references, and writes the figures to a file."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxtyping import UInt8
from torch import Tensor

from ..evaluation.metrics import SSIM_WINDOW, psnr, ssim
from ..io.json_object import write_json
from ..models.data.example import Example
from .rendering import RenderedTrajectory

FRAMES_PER_BATCH = 8


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
