"""Coatings: materials with textures of an atlas, as one row of as many numbers as a material's.

A texture blends the coating's colours channel by channel; a second, finer one changes the
brightness. Blends are linear in light, so that reduced textures show the mean of the full ones.

The atlas holds square periodic textures. A texture of a side of 2^n texels is followed by its
halves, down to a single texel (a mip pyramid, Williams 1983). Coordinates are repeats of the
texture; a level of 0 is the full size.
"""

import math
from dataclasses import dataclass
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ..shapes import Planes, Rays
from .materials import GAMMA, Material
from .surface import Surface
from .textures import Painted, smooth_step

# The texels of each texture, of all its reductions one after the other.
Atlas: TypeAlias = Float[Tensor, "texture texel 3"]
# Samples along the longer extent of a pixel.
TAPS = 2
# The haze of clouds near the horizon begins at this elevation (a sine).
LOW_CLOUDS = 0.22
# The height above the horizon from which clouds are drawn on a plane.
PLANE = 0.12


def pack_atlas(textures: Float[Tensor, "texture 3 side side"]) -> Atlas:
    """The atlas of textures, whose side is a power of two."""
    side = textures.shape[-1]
    assert side & (side - 1) == 0, f"a side of {side}"
    levels = []
    while True:
        levels.append(textures.flatten(2).mT)
        if textures.shape[-1] == 1:
            return torch.cat(levels, dim=1).contiguous()
        textures = functional.avg_pool2d(textures, 2)


def atlas_side(atlas: Atlas) -> int:
    """The side of the textures in texels."""
    # The sizes of the levels are a geometric series: (4 side^2 - 1) / 3 texels.
    return math.isqrt((3 * atlas.shape[1] + 1) // 4)


def sample_atlas(
    atlas: Atlas,
    texture: Int[Tensor, "camera ray"],
    place: tuple[Rays, Rays],
    extents: tuple[tuple[Rays, Rays], tuple[Rays, Rays]],
    taps: int = TAPS,
) -> Float[Tensor, "camera ray 3"]:
    """Colours of textures at `place`, the mean over a pixel.

    `extents` are the sides of the pixel as steps of `place`, across each other; `taps` samples lie
    along the longer one, so that surfaces seen edge-on don't blur along their shorter one.
    """
    (ax, ay), (bx, by) = extents
    a, b = (ax * ax + ay * ay).sqrt(), (bx * bx + by * by).sqrt()
    longer = a > b
    along_x, along_y = torch.where(longer, ax, bx), torch.where(longer, ay, by)
    short, long = torch.minimum(a, b), torch.maximum(a, b)
    level = (torch.maximum(short, long / taps) * atlas_side(atlas)).clamp_min(1).log2()
    total = torch.zeros((), device=atlas.device)
    for tap in range(taps):
        step = (tap + 0.5) / taps - 0.5
        u, v = place[0] + step * along_x, place[1] + step * along_y
        total = total + _trilinear(atlas, texture, u, v, level)
    return total / taps


def _trilinear(
    atlas: Atlas, texture: Int[Tensor, "camera ray"], u: Rays, v: Rays, level: Rays
) -> Float[Tensor, "camera ray 3"]:
    """Colours between two levels of a texture's pyramid."""
    top = atlas_side(atlas).bit_length() - 1
    level = level.clamp(0, top)
    low = level.floor()
    fine = _bilinear(atlas, texture, u, v, low.long())
    coarse = _bilinear(atlas, texture, u, v, (low + 1).clamp_max(top).long())
    return torch.lerp(fine, coarse, (level - low)[..., None])


def _bilinear(
    atlas: Atlas,
    texture: Int[Tensor, "camera ray"],
    u: Rays,
    v: Rays,
    level: Int[Tensor, "camera ray"],
) -> Float[Tensor, "camera ray 3"]:
    """Colours between the texels of one level."""
    full, texels = atlas_side(atlas), atlas.shape[1]
    side = torch.bitwise_right_shift(torch.full_like(level, full), level)
    # The texels of the levels before this one.
    start = texture * texels + (full * full - side * side) * 4 // 3
    x, y = u * side - 0.5, v * side - 0.5
    left, above = x.floor(), y.floor()
    across, down = (x - left)[..., None], (y - above)[..., None]
    left, above, last = left.long(), above.long(), side - 1
    columns = (left & last, (left + 1) & last)
    table = atlas.flatten(0, 1)
    rows = []
    for row in (above & last, (above + 1) & last):
        first = start + row * side
        rows.append(torch.lerp(table[first + columns[0]], table[first + columns[1]], across))
    return torch.lerp(rows[0], rows[1], down)


@dataclass(frozen=True)
class Coating(Material):
    """A material whose pattern is number `texture` of the atlas.

    `frequency` and `noise_frequency` are the repeats of the texture and of the finer `detail` in a
    unit, `aspect` those along v for one along u, `mottle` the strength of the detail, `keep` the
    share of the texture's own changes of colour. For a sky `mottle` is the cloudiness.
    """

    texture: int = 0
    detail: int = 0
    keep: float = 0.5

    def row(self) -> list[float]:
        """The numbers, in the order that `paint_coats` unpacks."""
        linear = [part**GAMMA for part in (*self.a, *self.b)]
        place = [self.frequency, self.aspect, math.cos(self.angle), math.sin(self.angle)]
        detail = [self.keep, float(self.detail), self.noise_frequency, 0.0]
        return [float(self.texture), *linear, *place, *detail, self.mottle, self.glow, *self.offset]


def paint_coats(
    coatings: Float[Tensor, "camera 20 ray"], surface: Surface, atlas: Atlas
) -> Painted:
    """The colours of surface points with coatings as of `Coating.row`."""
    local, widths = surface.local, surface.widths
    numbers, is_sky = coatings.movedim(1, 0), surface.is_sky
    a, b = numbers[1:4], numbers[4:7]
    frequency, aspect, cos, sin, keep, detail, finer = numbers[7:14].unbind(0)
    mottle, glow, offset_u, offset_v = numbers[15:19].unbind(0)
    sky_u, sky_v, sky_width = _sky_place(local, widths)
    u, v = _unrolled(surface)
    u, v = torch.where(is_sky, sky_u, u), torch.where(is_sky, sky_v, v)
    u_width, v_width = (torch.where(is_sky, sky_width, width) for width in widths)
    u_scale, v_scale = frequency, frequency * aspect
    place = (
        (u * cos + v * sin) * u_scale + offset_u,
        (v * cos - u * sin) * v_scale + offset_v,
    )
    extents = (
        (u_width * cos * u_scale, -u_width * sin * v_scale),
        (v_width * sin * u_scale, v_width * cos * v_scale),
    )
    main = sample_atlas(atlas, numbers[0].long(), place, extents)
    zero = torch.zeros_like(u)
    fine = sample_atlas(
        atlas,
        detail.long(),
        (u * finer + offset_v, v * finer + offset_u),
        ((u_width * finer, zero), (zero, v_width * finer)),
        taps=1,
    )[..., 1]
    grey = main.mean(-1, keepdim=True)
    blend = torch.lerp(grey, main, keep[..., None]).movedim(-1, 0)
    color = torch.lerp(a, b, blend) * (1 + mottle * (2 * fine - 1))
    sky = _sky(local, (a, b), cover=grey[..., 0], tone=fine, cloudiness=mottle)
    return torch.where(is_sky, sky, color).clamp(0, 1), glow


def _unrolled(surface: Surface) -> tuple[Rays, Rays]:
    """Coordinates on surfaces, whose seams are at the back.

    The round side of a cylinder is unrolled. A sphere has the sinusoidal projection, in which all
    areas keep their size.
    """
    x, y, z = surface.local
    radius = surface.radius
    angle = torch.atan2(-x, -z)
    height = (y / radius.clamp_min(1e-6)).clamp(-1, 1)
    across = angle * radius
    u = torch.where(surface.is_sphere, across * (1 - height * height).sqrt(), across)
    v = torch.where(surface.is_sphere, torch.asin(height) * radius, y)
    return torch.where(radius > 0, u, surface.u), torch.where(radius > 0, v, surface.v)


def _sky_place(direction: Planes, widths: tuple[Rays, Rays]) -> tuple[Rays, Rays, Rays]:
    """The points of a plane of clouds, and the extent of a pixel there."""
    x, y, z = direction
    height = y.abs() + PLANE
    # On the sky a pixel is as wide as it is tall: the smaller one is not stretched by the shell.
    angle = torch.minimum(widths[0], widths[1])
    return x / height, z / height, angle / height.square()


def _sky(
    direction: Planes, colors: tuple[Planes, Planes], *, cover: Rays, tone: Rays, cloudiness: Rays
) -> Planes:
    """A blend from the zenith's to the horizon's colour behind clouds."""
    zenith, horizon = colors
    elevation = -direction[1]
    clear = torch.lerp(horizon, zenith, smooth_step(elevation * 1.6 + 0.02).sqrt())
    # Clouds grow and thicken with the cloudiness.
    thick = smooth_step((cover - 0.9 + cloudiness) * 2.2) * smooth_step(elevation / LOW_CLOUDS)
    lit = (0.45 + 0.55 * smooth_step(1.5 - cover)) * (0.8 + 0.4 * tone)
    cloud = torch.lerp(horizon, torch.ones_like(horizon), 0.6) * lit
    return torch.lerp(clear, cloud, thick)
