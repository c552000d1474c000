"""Motion of flat canvases before a camera: a homography for each frame.

A homography maps points of a frame to points of a canvas, both in half heights from the centre.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ..tensors import Rows
from .draws import Draws

# The part of a canvas that a frame shows, in heights of the canvas.
NARROWEST, WIDEST = 0.25, 0.7
# The share of still clips.
STILL = 0.12
# The way of a clip, in half heights of the frame.
SLOWEST, FASTEST = 0.02, 2.0


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
