"""Shapes in an order: foliage, and lines of strokes like writing."""

import math
from dataclasses import replace

import torch

from .draws import Draws
from .leaves import Sources, draw_fills, paint, plain_background
from .shapes import BOX, ELLIPSE, RING, Shapes
from .textures import Pictures, draw_colors, from_hsv, power_law

# Lines of a sheet, signs of a line, strokes of a sign.
LINES, SIGNS, STROKES = 14, 36, 3
LEAVES = 3000


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
