"""Clips of canvases: a background and up to two layers before it, each on a plane of its own.

A clip is a function of its seed, of its size and of the library, whatever else is in the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from .draws import Draws
from .library import Library, to_bytes
from .motion import STILL, CanvasMotion

# How many clips have a first layer, and a second.
LAYERS = (0.6, 0.3)
# Each pixel is the mean of so many samples along each axis, all at moments of their own.
GRID = 2
# How many clips are blurred by motion, of at most which share of the time between frames.
BLURRED, LONGEST = 0.25, 0.6
NOISY, LOUDEST = 0.3, 0.02
# What lies behind the camera is not shown.
NEAREST = 0.3


@dataclass(frozen=True)
class _Camera:
    """Size of the clips, and how long each frame is exposed, in times of a clip."""

    frames: int
    size: tuple[int, int]
    exposure: Float[Tensor, "n 1"]

    def of(self, some: Bool[Tensor, " n"]) -> "_Camera":
        """That of some clips."""
        return _Camera(self.frames, self.size, self.exposure[some])


@torch.no_grad()
def canvas_clips(
    seeds: Sequence[int], library: Library, frames: int, size: tuple[int, int]
) -> UInt8[Tensor, "clip 3 frame h w"]:
    """The clips of `seeds`, on the library's device; `size` is their height and width."""
    device = library.canvases.device
    draws = Draws(torch.tensor([*seeds], device=device))
    still = draws.chance(STILL)
    blurred = draws.chance(BLURRED, 1)
    exposure = blurred * draws.uniform(1, high=LONGEST) / max(frames - 1, 1)
    camera = _Camera(frames, size, exposure)
    back = library.canvases[draws.below(len(library.canvases))]
    color = _filmed(back, CanvasMotion.draw(draws, still), camera)
    for share in LAYERS:
        there = draws.chance(share)
        front = library.canvases[draws.below(len(library.canvases))]
        mask = library.masks[draws.below(len(library.masks))]
        motion = CanvasMotion.draw(draws, still)
        if there.any():
            source = torch.cat([front[there], mask[there]], 1)
            layer = _filmed(source, motion.of(there), camera.of(there))
            alpha = layer[:, 3:]
            color[there] = color[there] * (1 - alpha) + layer[:, :3] * alpha
    return to_bytes(_exposed(color, draws))


def _exposed(
    color: Float[Tensor, "clip 3 frame h w"], draws: Draws
) -> Float[Tensor, "clip 3 frame h w"]:
    """Other contrast and brightness, and for some the noise of a sensor."""
    gain, gamma = (draws.scale(1, 1, 1, 1, low=0.75, high=1.33) for _ in range(2))
    color = color.clamp(1e-4, 1) ** gamma * gain
    loud = draws.chance(NOISY, 1, 1, 1, 1) * draws.uniform(1, 1, 1, 1, high=LOUDEST)
    return color + loud * draws.normal(*color.shape[1:])


def _filmed(
    source: UInt8[Tensor, "clip c source_h source_w"], motion: CanvasMotion, camera: _Camera
) -> Float[Tensor, "clip c frame h w"]:
    """Frames of moving canvases, as numbers in [0, 1]."""
    (height, width), frames = camera.size, camera.frames
    device, picture = source.device, source.float() / 255
    times = torch.linspace(0, 1, frames, device=device)
    rows, columns = (torch.arange(side, device=device) for side in (height, width))
    total = torch.zeros((), device=device)
    for phase in range(GRID * GRID):
        # A pattern of moments that no direction of motion shares with the pattern of places.
        moment = ((phase * 3 + phase // GRID) % (GRID * GRID) + 0.5) / GRID**2 - 0.5
        down, right = ((part + 0.5) / GRID for part in divmod(phase, GRID))
        y = (2 * (rows + down) - height) / height
        x = (2 * (columns + right) - width) / height
        total = total + _sampled(picture, motion.at(times + moment * camera.exposure), x, y)
    return total / GRID**2


def _sampled(
    picture: Float[Tensor, "clip c source_h source_w"],
    homography: Float[Tensor, "clip frame 3 3"],
    x: Float[Tensor, " w"],
    y: Float[Tensor, " h"],
) -> Float[Tensor, "clip c frame h w"]:
    """The colours of pictures where homographies lead the points of frames, mirrored outside."""
    row = homography[..., None, None]
    u, v, w = (
        row[:, :, k, 0] * x + row[:, :, k, 1] * y[:, None] + row[:, :, k, 2] for k in range(3)
    )
    w = w.clamp_min(NEAREST)
    rows, columns = picture.shape[-2:]
    grid = torch.stack([u / w * (rows / columns), v / w], -1)
    out = F.grid_sample(
        picture, grid.flatten(1, 2), mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return out.unflatten(2, (len(homography[0]), len(y)))
