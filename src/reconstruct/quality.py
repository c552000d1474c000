"""How close renderings are to their references, as figures in a file."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from ..evaluation.metrics import SSIM_WINDOW, psnr, ssim
from ..io.json_object import write_json
from ..models.data.example import Example
from .rendering import RenderedTrajectory

FRAMES_PER_BATCH = 8


@dataclass(frozen=True)
class FrameQuality:
    """PSNR in dB (None: equal frames, or unknown) and SSIM of one rendered frame."""

    trajectory: str
    frame: int
    psnr: float | None
    ssim: float | None


def trajectory_quality(
    rendered: RenderedTrajectory, reference: UInt8[Tensor, "target h w 3"], example: Example
) -> list[FrameQuality]:
    """Figures of each comparable frame of a trajectory, computed on the device of the rendering."""
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
            found.append(FrameQuality(name, frame, _finite(ratio), similar))
    return found


def write_quality(path: Path, key: str, frames: list[FrameQuality]) -> None:
    """Write means over frames and the figures of each frame as JSON."""
    content = {
        "key": key,
        "psnr": _mean(frame.psnr for frame in frames),
        "ssim": _mean(frame.ssim for frame in frames),
        "frames": [asdict(frame) for frame in frames],
    }
    write_json(path, content)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
