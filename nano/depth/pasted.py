"""Things that are pasted into frames: people, animals, plants and vessels on level surfaces.

The solids of worlds have plain outlines. A pasted thing is a flat group of bulging ellipses and
boxes, its limbs, that stands upright on a surface of the frame and hides what is behind it. Its
coordinates are in heights of the thing: x to the right, y upwards from its foot.
"""

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from ..worlds.canvases.textures import from_hsv
from ..worlds.shapes import Rows
from .draws import BatchDraws
from .losses import DepthSamples

Maps: TypeAlias = Float[Tensor, "batch h w"]
Points: TypeAlias = Float[Tensor, "batch 3 h w"]
Pictures: TypeAlias = Float[Tensor, "batch 3 h w"]
Numbers: TypeAlias = Float[Tensor, " batch"]
# The most things of a picture.
MOST = 4
# The heights of things in units of the world, whose centre has depth 1; a far thing is as tall as
# this share of its depth at least, and no thing is taller than this share of the picture.
SHORTEST, TALLEST, LEAST_SEEN, MOST_SEEN = 0.12, 0.8, 0.1, 0.9
NEAREST, FARTHEST = 0.4, 12.0
# A surface is level where its normal's share along the picture's upright is at least this, and flat
# where inverse depth bends by less than this share of itself over `REACH` pixels.
LEVEL, BENT, REACH = 0.85, 0.01, 3
# Surfaces are looked for at each so many pixels.
STRIDE = 4
# The colours of a thing; limbs name one of them.
COLORS = 4
# The radius of the soft shadow at a foot, in widths of a thing, and its darkness.
SHADOW_RADIUS, DARKEST = 0.9, 0.6
# The deviation of moved places, in heights.
SHIFT = 0.7

# Limbs: colour, x, y, half extents along both, turn in radians (its top to the left), and the power
# of the outline: 2 for ellipses, more for boxes.
Limb: TypeAlias = tuple[int, float, float, float, float, float, float]
PERSON: tuple[Limb, ...] = (
    (0, -0.06, 0.25, 0.05, 0.26, 0.0, 3), (0, 0.06, 0.25, 0.05, 0.26, 0.0, 3),
    (1, -0.17, 0.62, 0.038, 0.17, -0.25, 3), (1, 0.17, 0.62, 0.038, 0.17, 0.25, 3),
    (1, 0.0, 0.63, 0.125, 0.2, 0.0, 3), (2, 0.0, 0.82, 0.03, 0.06, 0.0, 2),
    (3, 0.0, 0.92, 0.08, 0.09, 0.0, 2), (2, 0.0, 0.89, 0.065, 0.085, 0.0, 2),
    (3, 0.0, 0.965, 0.07, 0.04, 0.0, 2),
)  # fmt: skip
ANIMAL: tuple[Limb, ...] = (
    (1, -0.45, 0.2, 0.06, 0.22, 0.0, 3), (0, -0.3, 0.2, 0.06, 0.22, 0.0, 3),
    (1, 0.3, 0.2, 0.06, 0.22, 0.0, 3), (0, 0.45, 0.2, 0.06, 0.22, 0.0, 3),
    (1, 0.0, 0.52, 0.55, 0.22, 0.0, 2.5), (2, -0.6, 0.5, 0.03, 0.25, -0.3, 2),
    (1, 0.55, 0.75, 0.11, 0.22, -0.6, 2), (1, 0.72, 0.85, 0.2, 0.12, 0.0, 2),
    (3, 0.6, 0.96, 0.05, 0.09, 0.0, 2),
)  # fmt: skip
TREE: tuple[Limb, ...] = (
    (0, 0.0, 0.25, 0.045, 0.28, 0.0, 3), (0, 0.08, 0.45, 0.02, 0.15, -0.6, 3),
    (1, -0.15, 0.6, 0.17, 0.15, 0.0, 2), (1, 0.17, 0.58, 0.16, 0.14, 0.0, 2),
    (1, 0.0, 0.72, 0.2, 0.2, 0.0, 2), (1, -0.1, 0.84, 0.13, 0.13, 0.0, 2),
    (1, 0.1, 0.86, 0.12, 0.12, 0.0, 2), (2, 0.05, 0.6, 0.05, 0.05, 0.0, 2),
    (2, -0.1, 0.7, 0.05, 0.05, 0.0, 2),
)  # fmt: skip
BUSH: tuple[Limb, ...] = (
    (1, -0.5, 0.3, 0.4, 0.34, 0.0, 2), (1, 0.45, 0.35, 0.45, 0.4, 0.0, 2),
    (1, 0.0, 0.55, 0.45, 0.45, 0.0, 2), (1, -0.2, 0.75, 0.2, 0.2, 0.0, 2),
    (1, 0.3, 0.75, 0.2, 0.2, 0.0, 2), (2, -0.2, 0.5, 0.08, 0.08, 0.0, 2),
    (2, 0.25, 0.4, 0.08, 0.08, 0.0, 2), (3, 0.0, 0.65, 0.07, 0.07, 0.0, 2),
    (3, 0.45, 0.55, 0.07, 0.07, 0.0, 2),
)  # fmt: skip
VESSEL: tuple[Limb, ...] = (
    (1, 0.0, 0.4, 0.25, 0.41, 0.0, 4), (2, 0.0, 0.35, 0.255, 0.18, 0.0, 8),
    (1, 0.0, 0.78, 0.12, 0.14, 0.0, 4), (0, 0.0, 0.94, 0.14, 0.06, 0.0, 5),
    (0, 0.32, 0.5, 0.08, 0.16, 0.0, 3), (3, -0.05, 0.4, 0.08, 0.08, 0.0, 2),
    (3, 0.08, 0.3, 0.06, 0.06, 0.0, 4), (2, 0.0, 0.03, 0.27, 0.035, 0.0, 6),
    (0, 0.05, 1.05, 0.015, 0.2, 0.2, 4),
)  # fmt: skip
LOAD: tuple[Limb, ...] = (
    (0, 0.0, 0.25, 0.5, 0.25, 0.0, 10), (1, -0.2, 0.6, 0.25, 0.12, 0.0, 10),
    (2, 0.25, 0.62, 0.16, 0.14, 0.0, 2), (3, 0.0, 0.25, 0.5, 0.03, 0.0, 10),
    (1, -0.3, 0.25, 0.03, 0.25, 0.0, 10), (1, 0.3, 0.25, 0.03, 0.25, 0.0, 10),
    (2, -0.2, 0.82, 0.14, 0.1, 0.1, 10), (3, 0.1, 0.75, 0.06, 0.2, 0.3, 4),
    (0, 0.45, 0.6, 0.05, 0.12, 0.0, 4),
)  # fmt: skip
HOUSE: tuple[Limb, ...] = (
    (0, 0.0, 0.58, 0.3, 0.3, math.pi / 4, 12), (0, 0.22, 0.8, 0.04, 0.15, 0.0, 10),
    (1, 0.0, 0.3, 0.4, 0.31, 0.0, 12), (0, 0.55, 0.42, 0.25, 0.05, 0.0, 10),
    (1, 0.55, 0.2, 0.2, 0.2, 0.0, 12), (2, -0.05, 0.16, 0.07, 0.16, 0.0, 10),
    (3, -0.25, 0.38, 0.07, 0.08, 0.0, 10), (3, 0.2, 0.38, 0.07, 0.08, 0.0, 10),
    (3, 0.0, 0.68, 0.05, 0.07, 0.0, 10),
)  # fmt: skip
KINDS = (PERSON, ANIMAL, TREE, BUSH, VESSEL, LOAD, HOUSE)
# How often each kind is drawn, and its size beside that of a person.
SHARES = (0.42, 0.1, 0.12, 0.08, 0.1, 0.08, 0.1)
SIZES = (1.0, 0.7, 1.5, 0.7, 0.5, 0.6, 2.5)
LIMBS = len(PERSON)


@dataclass(frozen=True)
class Outlines(Rows):
    """Things, a row each: their limbs, colours, light, bulge, and size beside that of a person.

    `light` points from the thing to the light: right, up, to the camera. `bulge` is how far the
    middle of a limb comes forward, in its half widths.
    """

    x: Float[Tensor, "batch limb"]
    y: Float[Tensor, "batch limb"]
    half_x: Float[Tensor, "batch limb"]
    half_y: Float[Tensor, "batch limb"]
    turn: Float[Tensor, "batch limb"]
    power: Float[Tensor, "batch limb"]
    color: Int[Tensor, "batch limb"]
    palette: Float[Tensor, "batch color 3"]
    light: Float[Tensor, "batch 3"]
    bulge: Numbers
    size: Numbers


@dataclass(frozen=True)
class Places(Rows):
    """Where things stand: the foot as a point of the camera, the surface's normal, the height.

    Where `there` is false, the picture has no level surface.
    """

    foot: Float[Tensor, "batch 3"]
    normal: Float[Tensor, "batch 3"]
    height: Numbers
    there: Bool[Tensor, " batch"]


def draw_outlines(draws: BatchDraws) -> Outlines:
    """One random thing for each picture."""
    device = draws.device
    kinds = torch.tensor(KINDS, device=device)
    share = torch.tensor(SHARES, device=device).cumsum(0)
    kind = torch.searchsorted(share, draws.uniform(0, float(share[-1]))).clamp_max(len(KINDS) - 1)
    color, x, y, half_x, half_y, turn, power = kinds[kind].unbind(-1)
    # A thing is wider or narrower as a whole, mirrored or not; limbs differ from each other.
    wide = (0.25 * draws.normal(1)).exp() * (1 - 2 * (draws.uniform(0, 1, 1) < 0.5).float())
    plump = (0.2 * draws.normal(1)).exp()
    hue, saturation = draws.uniform(0, 1, COLORS), draws.uniform(0, 0.9, COLORS).square()
    return Outlines(
        x=wide * (x + 0.02 * draws.normal(LIMBS)),
        y=y + 0.02 * draws.normal(LIMBS),
        half_x=wide.abs() * plump * half_x * (0.2 * draws.normal(LIMBS)).exp(),
        half_y=half_y * (0.12 * draws.normal(LIMBS)).exp(),
        turn=wide.sign() * turn + 0.12 * draws.normal(LIMBS),
        power=power,
        color=color.long(),
        palette=from_hsv(hue, saturation, draws.uniform(0.1, 1, COLORS)),
        light=F.normalize(draws.normal(3) + draws.normal(3).new_tensor([0.0, 0.8, 0.8]), dim=1),
        bulge=draws.uniform(0.3, 1.2),
        size=torch.tensor(SIZES, device=device)[kind],
    )


def unprojected(depth: Maps, focal: Numbers) -> Points:
    """The points of pixels in their camera (x right, y down), 0 where depth is unknown."""
    height, width = depth.shape[1:]
    x = torch.arange(width, device=depth.device) + 0.5 - width / 2
    y = torch.arange(height, device=depth.device) + 0.5 - height / 2
    slope = depth / focal[:, None, None]
    return torch.stack([slope * x, slope * y[:, None], depth], dim=1)


def level_surfaces(points: Points) -> tuple[Bool[Tensor, "batch h w"], Points]:
    """The pixels of flat level surfaces that are seen from above, and normals."""
    sides = [torch.roll(points, step, dims) for dims in (3, 2) for step in (-REACH, REACH)]
    right, left, below, above = sides
    normal = F.normalize(torch.linalg.cross(right - left, above - below, dim=1), dim=1)
    inverse = [part[:, 2].clamp_min(1e-3).reciprocal() for part in (points, *sides)]
    limit = 2 * BENT * inverse[0]
    flat = (inverse[1] + inverse[2] - 2 * inverse[0]).abs() < limit
    flat &= (inverse[3] + inverse[4] - 2 * inverse[0]).abs() < limit
    near = points[:, 2] < FARTHEST
    for part in (points, *sides):
        near = near & (part[:, 2] > NEAREST)
    inner = torch.zeros_like(flat)
    inner[:, REACH:-REACH, REACH:-REACH] = True
    # y points down: a surface that is seen from above has a normal against y.
    return flat & near & inner & (normal[:, 1] < -LEVEL), normal


def draw_places(points: Points, focal: Numbers, size: Numbers, draws: BatchDraws) -> Places:
    """A place on a level surface for one thing of `size` in each picture.

    Half of the places are moved along the surface, maybe behind something or out of the picture.
    """
    level, normal = level_surfaces(points)
    some = slice(STRIDE // 2, None, STRIDE)
    level = level[:, some, some].flatten(1)
    coarse, normal = (part[:, :, some, some].flatten(2) for part in (points, normal))
    # A floor has most pixels near the camera; things stand at all depths.
    weight = level * coarse[:, 2] + 1e-9
    pick = torch.multinomial(weight, 1, generator=draws.generator)
    at = pick[:, None].expand(-1, 3, 1)
    foot, up = coarse.gather(2, at)[..., 0], normal.gather(2, at)[..., 0]
    height = size * draws.uniform(math.log(SHORTEST), math.log(TALLEST)).exp()
    height = torch.maximum(height, LEAST_SEEN * foot[:, 2])
    height = torch.minimum(height, MOST_SEEN * points.shape[2] / focal * foot[:, 2])
    # A picture without a surface has its foot at the camera.
    height = height.clamp_min(1e-3)
    # Two directions along the surface: ahead and aside.
    ahead = F.normalize(torch.stack([0 * up[:, 0], -up[:, 2], up[:, 1]], dim=1), dim=1)
    aside = torch.linalg.cross(up, ahead, dim=1)
    moved = SHIFT * height[:, None] * (draws.uniform(0, 1, 1) < 0.5)
    foot = foot + moved * (draws.normal(1) * aside + draws.normal(1) * ahead)
    there = level.gather(1, pick)[:, 0] & (foot[:, 2] > NEAREST)
    return Places(foot=foot, normal=up, height=height, there=there)


class Paste:
    """Pastes things into pictures; limbs are filled with pieces of canvases."""

    def __init__(self, canvases: UInt8[Tensor, "canvas 3 h w"], compile: bool) -> None:
        """Fill with `canvases`, which are as large as the pictures."""
        self.canvases = canvases
        self._paste = torch.compile(paste, dynamic=False) if compile else paste

    def __call__(
        self, samples: DepthSamples, share: float, generator: torch.Generator
    ) -> DepthSamples:
        """The pictures with one to `MOST` things in a `share` of them, with their depth."""
        draws = BatchDraws(len(samples.names), generator)
        image, depth = samples.image, samples.depth
        focal = samples.log_focal.exp() * math.hypot(*depth.shape[1:])
        points = unprojected(depth, focal)
        count = (1 + (MOST * draws.uniform(0, 1)).long()) * (draws.uniform(0, 1) < share)
        for number in range(MOST):
            things = draw_outlines(draws)
            places = draw_places(points, focal, things.size, draws)
            places = replace(places, there=places.there & (number < count))
            fill = (len(self.canvases) * draws.uniform(0, 1)).long()
            contrast = draws.uniform(0, 0.9, 1, 1, 1)
            texture = 1 + contrast * (self.canvases[fill].float() / 127.5 - 1)
            image = shaded(image, points, places, things)
            image, depth = self._paste(image, depth, focal, places, things, texture)
        return replace(samples, image=image, depth=depth)


def paste(
    image: Pictures,
    depth: Maps,
    focal: Numbers,
    places: Places,
    things: Outlines,
    texture: Pictures,
) -> tuple[Pictures, Maps]:
    """Pictures and depth with one thing in each, where it is nearer than what was there.

    `texture` multiplies the colours of the things.
    """
    z = places.foot[:, 2].clamp_min(NEAREST)
    pixels = (places.height * focal / z)[:, None, None]
    x, y = _local(depth, places, focal, pixels)
    cover, color, light, bulge = _drawn(things, x, y, pixels)
    own = z[:, None, None] - (places.height * things.bulge)[:, None, None] * bulge
    before = places.there[:, None, None] & ((depth == 0) | (own < depth))
    cover = cover * before
    paint = (color * texture * light[:, None]).clamp(0, 1)
    return torch.lerp(image, paint, cover[:, None]), torch.where(cover > 0.5, own, depth)


def _local(
    depth: Maps, places: Places, focal: Numbers, pixels: Float[Tensor, "batch 1 1"]
) -> tuple[Maps, Maps]:
    """The pixels in the coordinates of the things, whose upright is the surface's normal."""
    rows, columns = depth.shape[1:]
    place = places.foot[:, :2] / places.foot[:, 2:].clamp_min(NEAREST) * focal[:, None]
    x = torch.arange(columns, device=depth.device) + 0.5 - columns / 2 - place[:, 0, None, None]
    y = torch.arange(rows, device=depth.device)[:, None] + 0.5 - rows / 2
    y = y - place[:, 1, None, None]
    up = F.normalize(places.normal[:, :2], dim=1)[..., None, None]
    return (x * -up[:, 1] + y * up[:, 0]) / pixels, (x * up[:, 0] + y * up[:, 1]) / pixels


def _drawn(
    things: Outlines, x: Maps, y: Maps, pixels: Float[Tensor, "batch 1 1"]
) -> tuple[Maps, Pictures, Maps, Maps]:
    """The cover of the pixels, their colours, light and bulge to the camera (in heights)."""
    cover, light, bulge = torch.zeros_like(x), torch.ones_like(x), torch.zeros_like(x)
    color = x.new_zeros(len(x), 3, *x.shape[1:])
    numbers = (things.x, things.y, things.half_x, things.half_y, things.turn, things.power)
    # A limb's numbers beside the pixels.
    table = torch.stack(numbers, dim=2)[..., None, None]
    sun, palette = things.light[..., None, None], things.palette[..., None, None]
    picture = torch.arange(len(x), device=x.device)
    for number in range(LIMBS):
        middle_x, middle_y, half_x, half_y, turn, power = table[:, number].unbind(1)
        cos, sin = turn.cos(), turn.sin()
        right, up = x - middle_x, y - middle_y
        a, b = (cos * right + sin * up) / half_x, (cos * up - sin * right) / half_y
        away = (a.abs().clamp_min(1e-4) ** power + b.abs().clamp_min(1e-4) ** power) ** (1 / power)
        thin = torch.minimum(half_x, half_y)
        own = (0.5 + (1 - away) * thin * pixels).clamp(0, 1)
        there = own > 0.5
        front = (1 - away.square()).clamp_min(0).sqrt()
        lit = a * sun[:, 0] + b * sun[:, 1] + front * sun[:, 2]
        paint = palette[picture, things.color[:, number]]
        color = torch.lerp(color, paint, own[:, None])
        light = torch.where(there, 0.65 + 0.5 * lit, light)
        bulge = torch.where(there, torch.maximum(bulge, thin * front), bulge)
        cover = torch.maximum(cover, own)
    # The rim of a limb has a share of black, as `color` begins there.
    return cover, color / cover.clamp_min(1e-3)[:, None], light, bulge


def shaded(image: Pictures, points: Points, places: Places, things: Outlines) -> Pictures:
    """The pictures with a soft shadow around each foot."""
    away = points - places.foot[..., None, None]
    above = (away * places.normal[..., None, None]).sum(1)
    wide = (things.x.abs() + things.half_x).amax(1)
    radius = (SHADOW_RADIUS * wide * places.height)[:, None, None]
    near = (-2 * away.square().sum(1) / radius.square()).exp()
    surface = places.there[:, None, None] & (points[:, 2] > 0) & (above.abs() < 0.1 * radius)
    return image * (1 - DARKEST * near * surface)[:, None]
