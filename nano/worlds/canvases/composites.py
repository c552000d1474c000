"""Canvases of shapes, each with a piece of another canvas: dead leaves, foliage, writing.

Dead leaves cover each other. Their sizes follow a power law, as those of the objects in photographs
do (Lee, Mumford and Huang 2001).
"""

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from ..shapes import Rows
from .shapes import BOX, ELLIPSE, RING, Shapes, topmost
from .textures import (
    Draws,
    Pictures,
    Size,
    draw_colors,
    draw_plain,
    from_hsv,
    noise,
    points,
    power_law,
)

# The canvases from which fills are cut.
Sources: TypeAlias = UInt8[Tensor, "m 3 source_h source_w"]
# Pixels are computed at this multiple of the canvas's size along each axis.
SUPERSAMPLE = 2
# Lines of a sheet, signs of a line, strokes of a sign.
LINES, SIGNS, STROKES = 14, 36, 3
LEAVES = 3000


@dataclass(frozen=True)
class Fills(Rows):
    """Fills of shapes: a piece of a canvas (turned, scaled, in another light) or one colour."""

    source: Int[Tensor, "*shape"]
    x: Float[Tensor, "*shape"]
    y: Float[Tensor, "*shape"]
    angle: Float[Tensor, "*shape"]
    scale: Float[Tensor, "*shape"]
    gain: Float[Tensor, "*shape"]
    # Light across the shape, and darkness towards its edge.
    ramp_x: Float[Tensor, "*shape"]
    ramp_y: Float[Tensor, "*shape"]
    rim: Float[Tensor, "*shape"]
    color: Float[Tensor, "*shape 3"]
    flat: Float[Tensor, "*shape"]


def draw_fills(draws: Draws, count: int, sources: int, flat: float) -> Fills:
    """Fills of `count` shapes of each picture; a share `flat` of them has one colour."""
    return Fills(
        source=draws.below(sources, count),
        x=draws.uniform(count, high=1.6),
        y=draws.uniform(count),
        angle=draws.uniform(count, high=2 * math.pi),
        scale=draws.scale(count, low=0.6, high=2.5),
        gain=draws.uniform(count, low=0.55, high=1.35),
        ramp_x=draws.uniform(count, low=-0.3, high=0.3),
        ramp_y=draws.uniform(count, low=-0.4, high=0.3),
        rim=draws.uniform(count, high=0.5) * draws.chance(0.5, count),
        color=draw_colors(draws, count),
        flat=draws.chance(flat, count).float(),
    )


def scattered(draws: Draws, count: int, smallest: float, largest: float, exponent: float) -> Shapes:
    """Shapes anywhere; radii have a density of r**-(exponent + 1), small ones are mostly on top."""
    low, high = smallest**-exponent, largest**-exponent
    radius = (low + draws.uniform(count) * (high - low)) ** (-1 / exponent)
    order = -radius.log() + draws.normal(count) * 0.6
    radius = radius.gather(1, order.argsort(1))
    kind = draws.below(4, count)
    upright = (kind == BOX) & draws.chance(0.6, count)
    angle = draws.uniform(count, high=2 * math.pi)
    return Shapes(
        x=draws.uniform(count, low=-0.1, high=1.8),
        y=draws.uniform(count, low=-0.1, high=1.1),
        radius=radius,
        # Most buildings and furniture stand upright.
        angle=torch.where(upright, 0.05 * (angle - math.pi), angle),
        aspect=draws.scale(count, low=0.4, high=2.5),
        kind=kind,
        points=3 + draws.below(5, count),
    )


def paint(shapes: Shapes, fills: Fills, background: Pictures, sources: Sources) -> Pictures:
    """Antialiased pictures of the shapes with their fills before a background."""
    size = (background.shape[2] * SUPERSAMPLE, background.shape[3] * SUPERSAMPLE)
    row, column = points(size, background.device)
    painted = []
    # One picture at a time, because the supersampled one needs much memory.
    for one in range(len(background)):
        some = slice(one, one + 1)
        shape, fill = shapes[some], fills[some]
        top = topmost(shape, size)[0]
        here = (torch.zeros_like(top), top.clamp_min(0))
        color = _fill(shape[here], fill[here], sources, x=column[0], y=row[0])
        large = F.interpolate(background[some], scale_factor=SUPERSAMPLE, mode="bilinear")[0]
        color = torch.where(top >= 0, color.movedim(-1, 0), large)
        painted.append(F.avg_pool2d(color, SUPERSAMPLE))
    return torch.stack(painted).clamp(0, 1)


def coverage(shapes: Shapes, size: Size) -> Float[Tensor, "n 1 h w"]:
    """The share of each pixel that shapes cover."""
    covered = topmost(shapes, (size[0] * SUPERSAMPLE, size[1] * SUPERSAMPLE)) >= 0
    return F.avg_pool2d(covered.float()[:, None], SUPERSAMPLE)


def _fill(
    shape: Shapes, fill: Fills, sources: Sources, x: Float[Tensor, "1 w"], y: Float[Tensor, "h 1"]
) -> Float[Tensor, "h w 3"]:
    """The colours of pixels at `x` and `y`; `shape` and `fill` have a row for each pixel."""
    right, down = x - shape.x, y - shape.y
    cos, sin = fill.angle.cos() * fill.scale, fill.angle.sin() * fill.scale
    u, v = fill.x + right * cos - down * sin, fill.y + right * sin + down * cos
    piece = _look_up(sources, fill.source, u=u, v=v)
    color = torch.where(fill.flat[..., None] > 0, fill.color, piece)
    u, v = shape.local(x, y)
    light = fill.gain + fill.ramp_x * u.clamp(-1, 1) + fill.ramp_y * v.clamp(-1, 1)
    light = light * (1 - fill.rim * (u * u + v * v).clamp(0, 1) ** 2)
    return color * light[..., None]


def _look_up(
    sources: Sources,
    which: Int[Tensor, "h w"],
    u: Float[Tensor, "h w"],
    v: Float[Tensor, "h w"],
) -> Float[Tensor, "h w 3"]:
    """Bilinear colours of sources at points in heights of the source, mirrored outside."""
    height, width = sources.shape[-2:]
    x, y = (_mirrored(p * height - 0.5, side) for p, side in ((u, width), (v, height)))
    left, above = x.floor().long(), y.floor().long()
    right, below = (left + 1).clamp_max(width - 1), (above + 1).clamp_max(height - 1)
    fx, fy = (x - left)[..., None], (y - above)[..., None]
    upper, lower = (
        sources[which, :, row, left] * (1 - fx) + sources[which, :, row, right] * fx
        for row in (above, below)
    )
    return (upper * (1 - fy) + lower * fy) / 255


def _mirrored(position: Float[Tensor, "*shape"], side: int) -> Float[Tensor, "*shape"]:
    """Positions folded back and forth into [0, side - 1]."""
    period = 2 * (side - 1)
    folded = position % period
    return torch.minimum(folded, period - folded)


def dead_leaves(
    draws: Draws, sources: Sources, count: int, smallest: float, largest: float
) -> Pictures:
    """Leaves of radii from `smallest` to `largest`, filled with pieces of `sources`, in one light.

    One light: all colours get less saturation, less contrast and the same tint.
    """
    behind = sources[draws.below(len(sources))].float() / 255
    shapes = scattered(draws, count, smallest=smallest, largest=largest, exponent=0.8)
    fills = draw_fills(draws, count, len(sources), flat=0.25)
    color = paint(shapes, fills, behind, sources=sources)
    grey = color.mean(1, keepdim=True)
    color = grey + (color - grey) * draws.uniform(1, 1, 1, low=0.15, high=0.9)
    middle = draws.uniform(1, 1, 1, low=0.2, high=0.7)
    color = middle + (color - middle) * draws.uniform(1, 1, 1, low=0.5, high=1.0)
    return (color * (1 + 0.12 * draws.normal(3, 1, 1))).clamp(0, 1)


def plain_background(draws: Draws, size: Size) -> Pictures:
    """Noise or, for half of the seeds, one colour."""
    color = draw_plain(draws)
    return torch.where(draws.chance(0.5, 1, 1, 1), noise(draws, size), color)


def foliage_shapes(draws: Draws, count: int = LEAVES) -> Shapes:
    """Small leaves in clumps: most grow where smooth noise is high."""
    n = len(draws)
    largest = draws.scale(1, low=0.012, high=0.05)
    x, y = draws.uniform(count, high=1.7), draws.uniform(count)
    # Leaves where the coarse noise is low get radius 0.
    field = power_law(draws, (32, 64), 1, steepest=1.6, flattest=1.0)[:, 0]
    row, column = (y * 31).long(), (x / 1.7 * 63).long()
    density = field.flatten(1).gather(1, row * 64 + column)
    grows = density + draws.normal(count) * 0.4 > draws.uniform(1, low=-1.2, high=0.6)
    kind = torch.where(draws.chance(0.8, 1), ELLIPSE, BOX).expand(n, count)
    return Shapes(
        x=x,
        y=y,
        radius=largest * draws.uniform(count, low=0.35) * grows,
        angle=draws.uniform(count, high=2 * math.pi),
        aspect=draws.scale(1, low=1.1, high=2.2) * draws.scale(count, low=0.8, high=1.25),
        kind=kind,
        points=torch.full((n, count), 5, device=draws.device),
    )


def foliage(draws: Draws, sources: Sources) -> Pictures:
    """Leaves of one plant, lit from above, before another canvas."""
    shapes = foliage_shapes(draws)
    count = shapes.x.shape[1]
    plants = draws.uniform(1, low=0.08, high=0.42)
    hue = plants + draws.normal(count) * 0.03
    saturation = (draws.uniform(1, low=0.2, high=0.9) + draws.normal(count) * 0.08).clamp(0, 1)
    # The topmost leaves, which come last, are the lightest.
    depth = torch.linspace(0.25, 1, count, device=draws.device)
    value = draws.uniform(1, low=0.4) * depth * draws.uniform(count, low=0.5)
    fills = draw_fills(draws, count, len(sources), flat=1.1)
    fills = replace(fills, color=from_hsv(hue % 1, saturation, value), rim=fills.rim * 0.5)
    behind = sources[draws.below(len(sources))].float() / 255 * 0.7
    return paint(shapes, fills, behind, sources=sources)


def writing_shapes(draws: Draws) -> Shapes:
    """Lines of signs of three strokes each, in one script: bars, slants and bows."""
    n, height = len(draws), draws.scale(1, 1, 1, low=0.035, high=0.14)
    shape = (LINES, SIGNS, STROKES)
    line = torch.arange(LINES, device=draws.device)[:, None, None]
    sign = torch.arange(SIGNS, device=draws.device)[:, None]
    pitch = height * draws.uniform(1, 1, 1, low=1.2, high=2.2)
    step = height * draws.uniform(1, 1, 1, low=0.6, high=0.95)
    left, above = draws.uniform(1, 1, 1, low=-0.2, high=0.4), draws.uniform(1, 1, 1, high=0.3)
    x = left + sign * step + step * draws.uniform(*shape, low=-0.3, high=0.3)
    y = above + line * pitch + height * draws.uniform(*shape, low=-0.3, high=0.3)
    # Gaps between words and at the ends of lines.
    words = draws.chance(0.82, LINES, SIGNS, 1) & draws.chance(0.9, *shape)
    ends = sign < draws.uniform(LINES, 1, 1, low=0.2, high=1.4) * SIGNS
    bow = draws.chance(0.25, *shape)
    upright = math.pi / 2 * draws.below(2, *shape)
    slant = draws.normal(*shape) * 0.5 * draws.chance(0.3, *shape)
    # Bars are four to eleven times as long as wide.
    thin = draws.uniform(1, 1, 1, low=2.0, high=3.3)
    length = height * draws.uniform(*shape, low=0.2, high=0.5)
    radius = torch.where(bow, length * 0.6, length / thin) * (words & ends)
    return Shapes(
        x=x.flatten(1),
        y=y.flatten(1),
        radius=radius.flatten(1),
        angle=(upright + slant).flatten(1),
        aspect=torch.where(bow, 1.0, thin).flatten(1),
        kind=torch.where(bow, RING, BOX).flatten(1),
        points=torch.full((n, math.prod(shape)), 4, device=draws.device),
    )


def writing(draws: Draws, sources: Sources) -> Pictures:
    """Signs in one or two colours on a plain sheet or, for a third of the seeds, on a canvas."""
    shapes = writing_shapes(draws)
    fills = draw_fills(draws, shapes.x.shape[1], len(sources), flat=1.1)
    zero, one = torch.zeros_like(fills.gain), torch.ones_like(fills.gain)
    colors = draw_colors(draws, 2)
    which = draws.chance(0.15, LINES, 1, 1).expand(-1, -1, SIGNS, STROKES).flatten(1).long()
    color = colors.gather(1, which[..., None].expand(-1, -1, 3))
    fills = replace(fills, gain=one, ramp_x=zero, ramp_y=zero, rim=zero, color=color)
    canvas = sources[draws.below(len(sources))].float() / 255
    sheet = plain_background(draws, (sources.shape[2], sources.shape[3]))
    behind = torch.where(draws.chance(0.3, 1, 1, 1), canvas, sheet)
    return paint(shapes, fills, behind, sources=sources)
