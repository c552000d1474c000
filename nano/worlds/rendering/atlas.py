"""An atlas of square periodic textures with all their reductions, sampled without aliasing.

A texture of a side of 2^n texels is followed by its halves, down to a single texel (a mip pyramid,
Williams 1983). Coordinates are repeats of the texture; a level of 0 is the full size.
"""

import math
from typing import TypeAlias

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from ..tensors import Rays

# The texels of each texture, of all its reductions one after the other.
Atlas: TypeAlias = Float[Tensor, "texture texel 3"]
# Samples along the longer extent of a pixel.
TAPS = 2


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
