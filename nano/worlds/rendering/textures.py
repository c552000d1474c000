"""Colours of surface points: the patterns of materials.

A pattern blends a material's colours `a` and `b` by a number in [0, 1]. It reads the surface
coordinates u and v (arc lengths), the point in its solid's own coordinates, and noise there. Edges
are at least as soft as a pixel is wide, and repeats narrower than a pixel fade to their mean: one
sample of a pixel is enough within a face.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from ..shapes import Planes, Rays
from .materials import PATTERNS
from .surface import Surface

TAU = 2 * math.pi
# Steps of a low-discrepancy sequence: neighbouring bricks get unlike tints.
BRICK_STEP, ROW_STEP, TINT = 0.7549, 0.5698, 0.16
# Elevations are sines; clouds begin above the highest hill.
HILL_TONE, HILL_SIZE, HIGHEST_HILL = 0.62, 3.0, 0.14

# The side of the noise in voxels, and its seed.
SIZE = 64
SEED = 20
# Cycles per period; the steep fall-off keeps the fields soft.
LOWEST_CYCLES, HIGHEST_CYCLES, FALL_OFF = 2, 9, 2.6

# The numbers 7 to 13 of `Material.row`.
PARAMETERS = ("frequency", "aspect", "cos", "sin", "level", "softness", "warp")


@dataclass(frozen=True)
class Spot:
    """Points at which a pattern is evaluated, and the parameters of their materials.

    `u_width` and `v_width` are the extents of a pixel on the surface, in scene units.
    """

    local: Planes
    u: Rays
    v: Rays
    u_width: Rays
    v_width: Rays
    noise: Rays
    frequency: Rays
    aspect: Rays
    cos: Rays
    sin: Rays
    level: Rays
    softness: Rays
    warp: Rays

    def width(self) -> Rays:
        """The longest extent of a pixel, in repeats."""
        return torch.maximum(self.u_width, self.v_width) * self.frequency


def _faded(blend: Rays, width: Rays, mean: float) -> Rays:
    """`blend`, which fades to `mean` where a pixel, `width` repeats wide, is about a repeat."""
    return mean + (blend - mean) * smooth_step(1.6 - 2 * width)


def smooth_step(value: Rays) -> Rays:
    """A smooth step from 0 to 1, with slope 0 at both ends."""
    value = value.clamp(0, 1)
    return value * value * (3 - 2 * value)


def gradient(spot: Spot) -> Rays:
    """A ramp along the height, `softness` wide; a narrow one divides a wall into two bands."""
    height = spot.local[1] * spot.frequency - spot.level
    return smooth_step(0.5 + height / torch.maximum(spot.softness, spot.v_width * spot.frequency))


def soft_noise(spot: Spot) -> Rays:
    """Clouds."""
    return smooth_step(0.5 + 0.35 * spot.noise)


def stripes(spot: Spot) -> Rays:
    """Parallel stripes across the direction (cos, sin) of the surface."""
    place = (spot.u * spot.cos + spot.v * spot.sin) * spot.frequency + spot.warp * spot.noise
    width = (spot.u_width * spot.cos.abs() + spot.v_width * spot.sin.abs()) * spot.frequency
    edge = torch.maximum(spot.softness, width)
    # A clamped sine: its flanks are `edge` repeats wide.
    return _faded((0.5 + (TAU * place).sin() / (TAU * edge)).clamp(0, 1), width, 0.5)


def marble(spot: Spot) -> Rays:
    """Veins: waves through the solid that noise bends."""
    x, y, z = spot.local
    place = (x * spot.cos + z * spot.sin + 0.6 * y) * spot.frequency + 2 * spot.warp * spot.noise
    return _faded(0.5 + 0.5 * (TAU * place).sin(), spot.width(), 0.5)


def wood(spot: Spot) -> Rays:
    """Year rings around the x axis, with a sharp and a soft side."""
    _, y, z = spot.local
    ring = (y * y + z * z).sqrt() * spot.frequency + spot.warp * spot.noise
    wave = (TAU * ring + 0.7 * (TAU * ring).sin()).sin()
    return _faded(0.5 + 0.5 * wave, spot.width(), 0.5)


def _lattice(spot: Spot) -> tuple[Rays, Rays]:
    """Surface coordinates in repeats; every second row of long bricks is shifted."""
    row = spot.v * spot.frequency * spot.aspect
    shift = 0.5 * (spot.aspect > 1) * torch.remainder(row.floor(), 2)
    return spot.u * spot.frequency + shift, row


def bricks(spot: Spot) -> Rays:
    """Mortar (1) of half width `level` between bricks, or tiles where `aspect` is 1."""
    column, row = _lattice(spot)
    across = 0.5 - (column - column.floor() - 0.5).abs()
    along = (0.5 - (row - row.floor() - 0.5).abs()) / spot.aspect
    u_width, v_width = spot.u_width * spot.frequency, spot.v_width * spot.frequency
    # A joint narrower than a pixel covers its share of the pixel.
    upright = _joint(across, spot.level, torch.maximum(spot.softness, u_width))
    level = _joint(along, spot.level, torch.maximum(spot.softness, v_width))
    return torch.maximum(_faded(upright, u_width, 0.1), _faded(level, v_width * spot.aspect, 0.1))


def _joint(distance: Rays, half: Rays, edge: Rays) -> Rays:
    """Coverage by a line of half width `half`, `distance` from its middle, blurred by `edge`."""
    share = (2 * half / edge).clamp_max(1)
    return share * smooth_step(0.5 + (torch.maximum(half, 0.5 * edge) - distance) / edge)


def brick_tint(spot: Spot) -> Rays:
    """A brightness in [1 - TINT, 1 + TINT] for each brick."""
    column, row = _lattice(spot)
    place = column.floor() * BRICK_STEP + row.floor() * ROW_STEP
    # A triangle wave: at a jump, rounding would make devices differ.
    wave = 4 * (place - place.floor() - 0.5).abs() - 1
    return _faded(1 + TINT * wave, spot.width() * spot.aspect, 1.0)


def dots(spot: Spot) -> Rays:
    """Discs (1) of radius `level`."""
    column, row = spot.u * spot.frequency, spot.v * spot.frequency
    across, along = column - column.floor() - 0.5, row - row.floor() - 0.5
    distance = (across * across + along * along).sqrt()
    width = spot.width()
    edge = torch.maximum(spot.softness, width)
    return _faded(smooth_step(0.5 + (spot.level - distance) / edge), width, 0.25)


PATTERN_FUNCTIONS: dict[str, Callable[[Spot], Rays]] = {
    "gradient": gradient,
    "noise": soft_noise,
    "marble": marble,
    "wood": wood,
    "stripes": stripes,
    "bricks": bricks,
    "dots": dots,
}


# Linear colours in [0, 1], and the share of light that each point emits (0 to 1).
Painted: TypeAlias = tuple[Planes, Rays]


def paint(
    materials: Float[Tensor, "camera 20 ray"],
    surface: Surface,
    volume: Float[Tensor, "1 2 side side side"],
) -> Painted:
    """The colours of surface points with materials as of `Material.row`; see `noise_volume`."""
    local, is_sky = surface.local, surface.is_sky
    numbers = materials.movedim(1, 0)
    pattern, a, b = numbers[0], numbers[1:4], numbers[4:7]
    noise_frequency, mottle, glow = numbers[14:17].unbind(0)
    place = torch.where(is_sky, _sky_position(local), local)
    noise, other = sample_noise(volume, place * noise_frequency + numbers[17:])
    u_width, v_width = surface.widths
    parameters = dict(zip(PARAMETERS, numbers[7:14].unbind(0), strict=True))
    spot = Spot(
        local=local,
        u=surface.u,
        v=surface.v,
        u_width=u_width,
        v_width=v_width,
        noise=noise,
        **parameters,
    )
    blend = torch.zeros_like(noise)
    # Every pattern is computed everywhere: a gather of each pattern's points costs more, and its
    # sizes would break the compiled graph.
    for name, function in PATTERN_FUNCTIONS.items():
        blend = torch.where(pattern == PATTERNS.index(name), function(spot), blend)
    tint = torch.where(pattern == PATTERNS.index("bricks"), brick_tint(spot), 1.0)
    color = torch.lerp(a, b, blend) * (tint * (1 + mottle * other))
    sky = _sky(spot, (a, b), cloudiness=mottle, other=other)
    return torch.where(is_sky, sky, color).clamp(0, 1), glow


def _sky_position(direction: Planes) -> Planes:
    """The points of the noise for directions of the sky.

    Hills depend on the compass direction alone. Clouds lie on a plane above, so they shrink
    towards the horizon.
    """
    x, y, z = direction
    compass = HILL_SIZE * (x * x + z * z).clamp_min(1e-6).rsqrt()
    scale = torch.where(y.abs() < HIGHEST_HILL, compass, (0.25 + y.abs()).reciprocal())
    return torch.stack((x * scale, torch.zeros_like(y), z * scale))


def _sky(spot: Spot, colors: tuple[Planes, Planes], cloudiness: Rays, other: Rays) -> Planes:
    """A blend from the zenith's to the horizon's colour, with clouds and hills up to `level`."""
    zenith, horizon = colors
    elevation = -spot.local[1]
    clear = torch.lerp(horizon, zenith, smooth_step(elevation * 1.6 + 0.02).sqrt())
    cloud = (
        cloudiness
        * smooth_step(0.9 * spot.noise - 0.1)
        * smooth_step(6 * (elevation - HIGHEST_HILL))
    )
    clear = torch.lerp(clear, torch.ones_like(clear), cloud)
    hill = (spot.level * (0.6 + 0.35 * other) - elevation) / 0.004
    return torch.lerp(clear, HILL_TONE * (0.7 * horizon + 0.3 * zenith), smooth_step(hill))


@lru_cache
def noise_volume(device: torch.device) -> Float[Tensor, "1 2 side side side"]:
    """Both fields over one period, of about unit variance in [-2, 2]; the ends are equal."""
    rng = np.random.default_rng(SEED)
    cycles = np.fft.fftfreq(SIZE, 1 / SIZE)
    x, y, z = np.meshgrid(cycles, cycles, cycles, indexing="ij")
    radius = np.sqrt(x * x + y * y + z * z)
    band = (radius >= LOWEST_CYCLES) & (radius <= HIGHEST_CYCLES)
    amplitude = np.where(band, np.maximum(radius, 1.0) ** -FALL_OFF, 0.0)
    fields = []
    for _ in range(2):
        white = np.fft.fftn(rng.standard_normal((SIZE, SIZE, SIZE)))
        field = np.fft.ifftn(white * amplitude).real
        fields.append(np.pad((field / field.std()).clip(-2, 2), (0, 1), mode="wrap"))
    return torch.from_numpy(np.stack(fields)).float()[None].to(device)


def sample_noise(
    volume: Float[Tensor, "1 2 side side side"], position: Float[Tensor, "3 camera ray"]
) -> Float[Tensor, "2 camera ray"]:
    """Both fields of `noise_volume` at `(x, y, z)` in periods, interpolated linearly."""
    grid = 2 * (position - position.floor()) - 1
    # One row of points: the sampler takes (batch, depth, height, width, xyz).
    grid = grid.flatten(1).mT[None, None, None]
    return functional.grid_sample(volume, grid, align_corners=True).view(2, *position.shape[1:])
