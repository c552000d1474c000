"""Flat shapes that cover each other, and the index of the topmost one in every pixel.

Lengths are in heights of the picture, `x` to the right and `y` down.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..shapes import Rows

# Kinds of shapes.
ELLIPSE, BOX, POLYGON, BLOB, RING = range(5)
# How far a blob reaches, in radii.
BULGE = 1.35
# The numbers that are computed at once, and the side of the smallest window in pixels.
NUMBERS, SMALLEST = 1 << 23, 8


@dataclass(frozen=True)
class Shapes(Rows):
    """Shapes of pictures, equally many in each; later ones cover earlier ones.

    `aspect` is the square root of width / height, `points` the number of corners or bulges; a
    shape of `radius` 0 is not there.
    """

    x: Float[Tensor, "*shape"]
    y: Float[Tensor, "*shape"]
    radius: Float[Tensor, "*shape"]
    angle: Float[Tensor, "*shape"]
    aspect: Float[Tensor, "*shape"]
    kind: Int[Tensor, "*shape"]
    points: Int[Tensor, "*shape"]

    def extent(self) -> Float[Tensor, "*shape"]:
        """The greatest distance of a shape's points from its centre."""
        corner = torch.where(self.kind == BOX, math.sqrt(2), BULGE)
        return self.radius * torch.maximum(self.aspect, 1 / self.aspect) * corner

    def local(
        self, x: Float[Tensor, "..."], y: Float[Tensor, "..."]
    ) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """Points in the shapes' own axes, in radii; everything broadcasts."""
        right, down = x - self.x, y - self.y
        cos, sin, radius = self.angle.cos(), self.angle.sin(), self.radius.clamp_min(1e-6)
        u = (right * cos + down * sin) / (radius * self.aspect)
        v = (down * cos - right * sin) * self.aspect / radius
        return u, v

    def inside(self, x: Float[Tensor, "..."], y: Float[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """Whether points lie in their shapes; everything broadcasts."""
        u, v = self.local(x, y)
        far, turn = (u * u + v * v).sqrt(), torch.atan2(v, u)
        side = 2 * math.pi / self.points
        edge = torch.where(self.kind == BLOB, 1 + 0.35 * (turn * self.points).sin(), 1.0)
        corner = 0.9 / ((turn / side + 0.5).floor() * side - turn).cos()
        edge = torch.where(self.kind == POLYGON, corner, edge)
        far = torch.where(self.kind == BOX, torch.maximum(u.abs(), v.abs()), far)
        hole = (self.kind == RING) & (far < 0.75)
        return (far < edge) & ~hole & (self.radius > 0)


def topmost(shapes: Shapes, size: tuple[int, int]) -> Int[Tensor, "n h w"]:
    """The index of the topmost shape in every pixel, -1 where there is none.

    Each shape is tested only in a window of its own extent; the largest index wins.
    """
    height, width = size
    top = torch.full((len(shapes.x) * height * width,), -1, device=shapes.x.device)
    reach = 2 * shapes.extent() * height + 2
    there, side = shapes.radius > 0, SMALLEST
    while side * side < height * width:
        chosen = there & (reach <= side) & (reach > (side * 2 // 3 if side > SMALLEST else 0))
        _stamp(top, shapes, chosen, size=size, side=side)
        side = side * 3 // 2
    _stamp(top, shapes, there & (reach > side * 2 // 3), size=size)
    return top.view(-1, height, width)


def _stamp(
    top: Int[Tensor, " pixel"],
    shapes: Shapes,
    chosen: Bool[Tensor, "n count"],
    *,
    size: tuple[int, int],
    side: int | None = None,
) -> None:
    """Raise `top` to the indices of the chosen shapes, in windows of a `side` or everywhere."""
    height, width = size
    rows, columns = (torch.arange(side or full, device=top.device) for full in size)
    for some in chosen.nonzero().split(max(NUMBERS // (len(rows) * len(columns)), 1)):
        picture, index = some[..., None, None].unbind(1)
        shape = shapes[picture, index]
        row, column = rows[:, None], columns
        if side is not None:
            row = row - side // 2 + (shape.y * height).floor().long()
            column = column - side // 2 + (shape.x * height).floor().long()
        hit = shape.inside((column + 0.5) / height, (row + 0.5) / height)
        hit &= (row >= 0) & (row < height) & (column >= 0) & (column < width)
        # Only hit pixels are written: a common place for the others makes a GPU's threads wait.
        place = ((picture * height + row) * width + column)[hit]
        top.scatter_reduce_(0, place, index.expand_as(hit)[hit], "amax")
