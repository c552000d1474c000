"""Clips of canvases: a background and up to two layers before it, each on a plane of its own.

A clip depends on its seed, its size and the library, but not on the rest of the batch. Each frame
of a layer is a homography: it maps points of the frame to points of the canvas, both in half
heights from the centre.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from src.io.image import round_to_uint8

from ..shapes import Rows
from .library import Library
from .textures import Draws

# The part of a canvas that a frame shows, in heights of the canvas.
NARROWEST, WIDEST = 0.25, 0.7
# The share of still clips.
STILL = 0.12
# The way of a clip, in half heights of the frame.
SLOWEST, FASTEST = 0.02, 2.0
# The shares of clips with a first and with a second layer.
LAYERS = (0.6, 0.3)
# Samples of a pixel along each axis, each at a moment of its own.
GRID = 2
# The share of clips with motion blur, and the longest exposure in times between frames.
BLURRED, LONGEST = 0.25, 0.6
# The share of clips with sensor noise, and its greatest deviation.
NOISY, LOUDEST = 0.3, 0.02
# Points nearer than this lie behind the camera.
NEAREST = 0.3


@dataclass(frozen=True)
class CanvasMotion(Rows):
    """Views of canvases that move along a line or a bow; each row is one layer of one clip."""

    zoom: Float[Tensor, "n 2"]
    turn: Float[Tensor, "n 2"]
    tilt: Float[Tensor, "n 2 2"]
    start: Float[Tensor, "n 2"]
    way: Float[Tensor, "n 2"]
    bow: Float[Tensor, "n 1"]

    @staticmethod
    def draw(draws: Draws, still: Bool[Tensor, " n"]) -> "CanvasMotion":
        """Random views, which don't move where `still`."""
        moving = (~still).float()[:, None]
        zoom = draws.scale(1, low=NARROWEST, high=WIDEST)
        nearer = moving * draws.normal(1) * 0.15
        turn = draws.normal(1) * 0.25
        tilt = draws.normal(2, 1) * 0.12
        heading = draws.uniform(1, high=2 * math.pi)
        way = moving * zoom * draws.scale(1, low=SLOWEST, high=FASTEST)
        return CanvasMotion(
            zoom=torch.cat([zoom, zoom * nearer.exp()], 1),
            turn=torch.cat([turn, turn + moving * draws.normal(1) * 0.06], 1),
            tilt=torch.cat([tilt, tilt + moving[:, None] * draws.normal(2, 1) * 0.04], 2),
            start=torch.cat(
                [draws.uniform(1, low=-0.8, high=0.8), draws.uniform(1, low=-0.4, high=0.4)], 1
            ),
            way=way * torch.cat([heading.cos(), heading.sin() * 0.6], 1),
            bow=draws.normal(1) * 0.4,
        )

    def at(self, times: Float[Tensor, "n frame"]) -> Float[Tensor, "n frame 3 3"]:
        """The homographies at times in [0, 1], from the first to the last frame."""
        zoom, turn = (_between(part, times) for part in (self.zoom, self.turn))
        right, down = (_between(self.tilt[:, axis], times) for axis in (0, 1))
        # From the middle of the way, bent aside.
        along, aside = times - 0.5, self.bow * (times * times - times)
        x = self.start[:, :1] + self.way[:, :1] * along - self.way[:, 1:] * aside
        y = self.start[:, 1:] + self.way[:, 1:] * along + self.way[:, :1] * aside
        cos, sin, one = turn.cos() * zoom, turn.sin() * zoom, torch.ones_like(zoom)
        rows = (
            torch.stack([cos + x * right, x * down - sin, x], -1),
            torch.stack([sin + y * right, cos + y * down, y], -1),
            torch.stack([right, down, one], -1),
        )
        return torch.stack(rows, -2)


def _between(
    ends: Float[Tensor, "n 2"], times: Float[Tensor, "n frame"]
) -> Float[Tensor, "n frame"]:
    return ends[:, :1] + (ends[:, 1:] - ends[:, :1]) * times


@torch.no_grad()
def canvas_clips(
    seeds: Sequence[int], library: Library, frames: int, size: tuple[int, int]
) -> UInt8[Tensor, "clip 3 frame h w"]:
    """The clips of `seeds`, on the library's device; `size` is their height and width."""
    draws = Draws(torch.tensor([*seeds], device=library.canvases.device))
    still = draws.chance(STILL)
    blurred = draws.chance(BLURRED, 1)
    exposure = blurred * draws.uniform(1, high=LONGEST) / max(frames - 1, 1)
    # The moments of the frames, and how long each frame is exposed, in times of a clip.
    times = torch.linspace(0, 1, frames, device=draws.device)
    back = library.canvases[draws.below(len(library.canvases))]
    color = _film(back, CanvasMotion.draw(draws, still), times=times, exposure=exposure, size=size)
    for share in LAYERS:
        there = draws.chance(share)
        front = library.canvases[draws.below(len(library.canvases))]
        mask = library.masks[draws.below(len(library.masks))]
        motion = CanvasMotion.draw(draws, still)
        if there.any():
            source = torch.cat([front[there], mask[there]], 1)
            layer = _film(source, motion[there], times=times, exposure=exposure[there], size=size)
            alpha = layer[:, 3:]
            color[there] = color[there] * (1 - alpha) + layer[:, :3] * alpha
    return round_to_uint8(_expose(color, draws))


def _expose(
    color: Float[Tensor, "clip 3 frame h w"], draws: Draws
) -> Float[Tensor, "clip 3 frame h w"]:
    """Returns clips with other contrast and brightness, some of them with sensor noise."""
    gain, gamma = (draws.scale(1, 1, 1, 1, low=0.75, high=1.33) for _ in range(2))
    color = color.clamp(1e-4, 1) ** gamma * gain
    loud = draws.chance(NOISY, 1, 1, 1, 1) * draws.uniform(1, 1, 1, 1, high=LOUDEST)
    return color + loud * draws.normal(*color.shape[1:])


def _film(
    source: UInt8[Tensor, "clip c source_h source_w"],
    motion: CanvasMotion,
    *,
    times: Float[Tensor, " frame"],
    exposure: Float[Tensor, "clip 1"],
    size: tuple[int, int],
) -> Float[Tensor, "clip c frame h w"]:
    """Frames of moving canvases, with values in [0, 1]."""
    (height, width), device = size, source.device
    picture = source.float() / 255
    rows, columns = (torch.arange(side, device=device) for side in size)
    total = torch.zeros((), device=device)
    for phase in range(GRID * GRID):
        # The order of the moments follows no direction of motion in the order of the places.
        moment = ((phase * 3 + phase // GRID) % (GRID * GRID) + 0.5) / GRID**2 - 0.5
        down, right = ((part + 0.5) / GRID for part in divmod(phase, GRID))
        y = (2 * (rows + down) - height) / height
        x = (2 * (columns + right) - width) / height
        total = total + _sample(picture, motion.at(times + moment * exposure), x=x, y=y)
    return total / GRID**2


def _sample(
    picture: Float[Tensor, "clip c source_h source_w"],
    homography: Float[Tensor, "clip frame 3 3"],
    x: Float[Tensor, " w"],
    y: Float[Tensor, " h"],
) -> Float[Tensor, "clip c frame h w"]:
    """The colours of pictures where homographies map the points of frames, mirrored outside."""
    row = homography[..., None, None]
    u, v, w = (
        row[:, :, k, 0] * x + row[:, :, k, 1] * y[:, None] + row[:, :, k, 2] for k in range(3)
    )
    w = w.clamp_min(NEAREST)
    rows, columns = picture.shape[-2:]
    grid = torch.stack([u / w * (rows / columns), v / w], -1).flatten(1, 2)
    out = F.grid_sample(
        picture, grid, mode="bilinear", padding_mode="reflection", align_corners=False
    )
    return out.unflatten(2, (len(homography[0]), len(y)))
