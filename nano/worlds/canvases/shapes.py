"""Flat shapes that cover each other: which of many lies on top in every pixel.

Lengths are in heights of the picture, `x` to the right and `y` down.
"""

import math
from dataclasses import dataclass, fields

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Kinds of shapes.
ELLIPSE, BOX, POLYGON, BLOB, RING = range(5)
# What lies in blobs beyond their radius.
BULGE = 1.35
# Numbers of one step of the computation, and the side of the smallest window.
NUMBERS, SMALLEST = 1 << 23, 8


@dataclass(frozen=True)
class Shapes:
    """As many shapes for each picture; later ones cover earlier ones.

    `aspect` is the root of width over height, `points` the corners or bulges, `radius` 0 for none.
    """

    x: Float[Tensor, "*shape"]
    y: Float[Tensor, "*shape"]
    radius: Float[Tensor, "*shape"]
    angle: Float[Tensor, "*shape"]
    aspect: Float[Tensor, "*shape"]
    kind: Int[Tensor, "*shape"]
    points: Int[Tensor, "*shape"]

    def at(self, index: Tensor | tuple[Tensor, ...]) -> "Shapes":
        """The shapes at an index, whatever its shape."""
        return Shapes(**{part.name: getattr(self, part.name)[index] for part in fields(self)})

    def extent(self) -> Float[Tensor, "*shape"]:
        """How far a shape reaches from its centre at most."""
        corner = torch.where(self.kind == BOX, math.sqrt(2), BULGE)
        return self.radius * torch.maximum(self.aspect, 1 / self.aspect) * corner

    def local(
        self, x: Float[Tensor, "..."], y: Float[Tensor, "..."]
    ) -> tuple[Float[Tensor, "..."], Float[Tensor, "..."]]:
        """Points in the shapes' own axes, in radii; all tensors broadcast."""
        right, down = x - self.x, y - self.y
        cos, sin, radius = self.angle.cos(), self.angle.sin(), self.radius.clamp_min(1e-6)
        u = (right * cos + down * sin) / (radius * self.aspect)
        v = (down * cos - right * sin) * self.aspect / radius
        return u, v

    def inside(self, x: Float[Tensor, "..."], y: Float[Tensor, "..."]) -> Bool[Tensor, "..."]:
        """Whether points lie in their shapes; all tensors broadcast."""
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
    """The index of the uppermost shape in every pixel; -1 where there is none.

    Each shape is looked at in a window of its own extent alone, the largest index wins.
    """
    height, width = size
    count, each = shapes.x.shape
    device = shapes.x.device
    top = torch.full((count * height * width,), -1, dtype=torch.int64, device=device)
    reach = 2 * shapes.extent() * height + 2
    there, pixels = shapes.radius > 0, height * width
    side = SMALLEST
    while side * side < pixels:
        chosen = there & (reach <= side) & (reach > (side * 2 // 3 if side > SMALLEST else 0))
        window = torch.arange(side, device=device) - side // 2
        _stamp_all(top, shapes, chosen, (window[:, None], window), size)
        side = side * 3 // 2
    chosen = there & (reach > side * 2 // 3)
    _stamp_all(top, shapes, chosen, None, size)
    return top.view(count, height, width)


def _stamp_all(
    top: Int[Tensor, " pixel"],
    shapes: Shapes,
    chosen: Bool[Tensor, "n count"],
    window: tuple[Int[Tensor, "side 1"], Int[Tensor, " side"]] | None,
    size: tuple[int, int],
) -> None:
    """Raise `top` to the indices of the chosen shapes, some at a time."""
    picture, index = chosen.nonzero(as_tuple=True)
    pixels = len(window[1]) ** 2 if window is not None else size[0] * size[1]
    step = max(NUMBERS // pixels, 1)
    for pair in zip(picture.split(step), index.split(step), strict=True):
        _stamp(top, shapes, pair, window, size)


def _stamp(
    top: Int[Tensor, " pixel"],
    shapes: Shapes,
    which: tuple[Int[Tensor, " k"], Int[Tensor, " k"]],
    window: tuple[Int[Tensor, "side 1"], Int[Tensor, " side"]] | None,
    size: tuple[int, int],
) -> None:
    """The shapes `which` (picture, index), in windows around their centres, or everywhere."""
    (height, width), (picture, index) = size, which
    picture, index = picture[:, None, None], index[:, None, None]
    some = shapes.at((picture, index))
    if window is None:
        row = torch.arange(height, device=top.device)[:, None].expand(len(index), -1, 1)
        column = torch.arange(width, device=top.device).expand(len(index), 1, -1)
    else:
        row = (some.y * height).floor().long() + window[0]
        column = (some.x * height).floor().long() + window[1]
    hit = some.inside((column + 0.5) / height, (row + 0.5) / height)
    hit &= (row >= 0) & (row < height) & (column >= 0) & (column < width)
    # Only what is hit: a place for all others would make a GPU's threads wait for each other.
    place = ((picture * height + row) * width + column)[hit]
    top.scatter_reduce_(0, place, index.expand_as(hit)[hit], "amax")
