"""Random numbers, and plain canvases from them: noise, clouds, gradients, stripes, bricks.

A generator's numbers depend on how many were drawn before, and differ between devices. `Draws` are
a hash of a seed, a call and a place (Wellons 2018, "lowbias32", applied twice): they don't depend
on the batch or the device.

A texture is a function of random numbers and a size; colours are RGB in [0, 1]. Lengths are in
heights of the picture, so that a seed looks the same at every size, except for the finest detail.
"""

import math
from typing import TypeAlias

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Size = tuple[int, int]
Pictures: TypeAlias = Float[Tensor, "n 3 h w"]
# The share of strong colours; the others are muted.
STRONG = 0.25
MASK = 0xFFFFFFFF
# 2**32 over the golden ratio: neighbours in a row get keys that are far apart.
STRIDE = 0x9E3779B9


class Draws:
    """Random numbers of several seeds: each call returns new ones, a row for each seed.

    Two batches that call for the same shapes in the same order get the same rows for a seed.
    """

    def __init__(self, seeds: Int[Tensor, " n"]) -> None:
        """Start from `seeds`, integers in [0, 2**62); their device is that of the numbers."""
        self.device, self._calls = seeds.device, 0
        self._keys = _hashed(_hashed(seeds & MASK) + (seeds >> 32))

    def __len__(self) -> int:
        return len(self._keys)

    def bits(self, *shape: int) -> Int[Tensor, "n ..."]:
        """Integers in [0, 2**32)."""
        self._calls += 1
        keys = _hashed(self._keys + self._calls * STRIDE)
        place = torch.arange(math.prod(shape), device=self.device) * STRIDE
        return _hashed(_hashed(keys[:, None] + place)).view(len(self), *shape)

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Float[Tensor, "n ..."]:
        """Numbers in [low, high)."""
        return low + (high - low) * (self.bits(*shape) >> 8).float() / (1 << 24)

    def scale(self, *shape: int, low: float, high: float) -> Float[Tensor, "n ..."]:
        """Numbers in [low, high) whose logarithms are uniform."""
        return self.uniform(*shape, low=math.log(low), high=math.log(high)).exp()

    def normal(self, *shape: int) -> Float[Tensor, "n ..."]:
        """Standard normal numbers (Box and Muller)."""
        radius = (-2 * (1 - self.uniform(*shape)).log()).sqrt()
        return radius * (2 * math.pi * self.uniform(*shape)).cos()

    def below(self, count: int, *shape: int) -> Int[Tensor, "n ..."]:
        """Integers in [0, count)."""
        return (self.bits(*shape) * count) >> 32

    def chance(self, share: float, *shape: int) -> Bool[Tensor, "n ..."]:
        """True with probability `share`."""
        return self.uniform(*shape) < share


def _hashed(value: Int[Tensor, "*shape"]) -> Int[Tensor, "*shape"]:
    # Products of 32-bit numbers overflow 63 bits, but not in the bits that are kept.
    value = value & MASK
    value = ((value ^ (value >> 16)) * 0x7FEB352D) & MASK
    value = ((value ^ (value >> 15)) * 0x846CA68B) & MASK
    return value ^ (value >> 16)


def draw_colors(draws: Draws, *shape: int) -> Float[Tensor, "n ... 3"]:
    """Random colours, mostly muted."""
    hue, value = draws.uniform(*shape), draws.uniform(*shape, low=0.03)
    muted, strong = draws.uniform(*shape, high=0.4), draws.uniform(*shape, low=0.4)
    saturation = torch.where(draws.chance(STRONG, *shape), strong, muted)
    return from_hsv(hue, saturation, value)


def draw_plain(draws: Draws) -> Float[Tensor, "n 3 1 1"]:
    """Pictures of one pixel in a random colour."""
    return draw_colors(draws)[..., None, None]


def from_hsv(
    hue: Float[Tensor, "*shape"],
    saturation: Float[Tensor, "*shape"],
    value: Float[Tensor, "*shape"],
) -> Float[Tensor, "*shape 3"]:
    """RGB of hue (in turns), saturation and value."""
    turn = torch.tensor([5.0, 3.0, 1.0], device=hue.device)
    k = (turn + 6 * hue[..., None]) % 6
    fall = torch.minimum(k, 4 - k).clamp(0, 1)
    return value[..., None] * (1 - saturation[..., None] * fall)


def points(
    size: Size, device: torch.device
) -> tuple[Float[Tensor, "1 h 1"], Float[Tensor, "1 1 w"]]:
    """Rows and columns of the pixels' centres, in heights of the picture."""
    height, width = size
    row = (torch.arange(height, device=device)[None, :, None] + 0.5) / height
    return row, (torch.arange(width, device=device)[None, None] + 0.5) / height


def power_law(
    draws: Draws, size: Size, channels: int, steepest: float = 2.0, flattest: float = 0.9
) -> Float[Tensor, "n channel h w"]:
    """Noise of mean 0 and deviation 1, whose amplitude falls as 1 / frequency**p for a random p.

    In photographs p is about 1. The spectrum is stretched in a random direction.
    """
    height, width = size
    along = torch.fft.fftfreq(height, device=draws.device)[:, None]
    across = torch.fft.rfftfreq(width, device=draws.device)[None]
    angle, stretch = draws.uniform(1, 1, high=math.pi), draws.scale(1, 1, low=0.4, high=2.5)
    u = (across * angle.cos() + along * angle.sin()) * stretch
    v = along * angle.cos() - across * angle.sin()
    frequency = (u * u + v * v).sqrt().clamp_min(0.5 / max(size))
    power = draws.uniform(1, 1, low=flattest, high=steepest)
    white = torch.fft.rfft2(draws.normal(channels, height, width))
    noise = torch.fft.irfft2(white * (frequency**-power)[:, None], s=size)
    noise = noise - noise.mean((2, 3), keepdim=True)
    return noise / noise.std((2, 3), keepdim=True).clamp_min(1e-6)


def noise(draws: Draws, size: Size) -> Pictures:
    """Noise around a colour, with more luma than chroma."""
    field = power_law(draws, size, 3)
    luma = field[:, :1]
    field = luma + (field - field.mean(1, True)) * draws.uniform(1, 1, 1, low=0.05, high=0.6)
    mean = draw_plain(draws)
    room = torch.minimum(mean, 1 - mean).clamp_min(0.1)
    return (mean + field * room * draws.scale(1, 1, 1, low=0.03, high=0.6)).clamp(0, 1)


def clouds(draws: Draws, size: Size) -> Pictures:
    """Two colours: the second covers the first where smooth noise is high."""
    field = power_law(draws, size, 1, steepest=2.2, flattest=1.5)
    hardness = draws.scale(1, 1, 1, low=0.7, high=4.0)
    cover = ((field - draws.normal(1, 1, 1) * 0.7) * hardness).sigmoid()
    row, _ = points(size, draws.device)
    sky = draw_plain(draws) * (1 + draws.uniform(1, 1, 1, low=-0.4, high=0.4) * row[:, None])
    white = 1 - draws.uniform(1, 1, 1, high=0.5) * (1 - draw_plain(draws))
    shade = 1 + 0.12 * power_law(draws, size, 1)
    return (sky * (1 - cover) + white * shade * cover).clamp(0, 1)


def gradient(draws: Draws, size: Size) -> Pictures:
    """A blend of two colours along a direction or around a point, with grain."""
    row, column = points(size, draws.device)
    angle = draws.uniform(1, 1, high=2 * math.pi)
    line = (column - 0.8) * angle.cos() + (row - 0.5) * angle.sin()
    down, right = row - draws.uniform(1, 1), column - draws.uniform(1, 1, high=1.6)
    spot = (down * down + right * right).sqrt() - 0.5
    t = torch.where(draws.chance(0.5, 1, 1), line, spot) * draws.scale(1, 1, low=1.5, high=6.0)
    t = t.sigmoid()[:, None]
    first, second = draw_plain(draws), draw_plain(draws)
    grain = power_law(draws, size, 1) * draws.scale(1, 1, 1, low=0.004, high=0.06)
    return (first * (1 - t) + second * t + grain).clamp(0, 1)


def stripes(draws: Draws, size: Size) -> Pictures:
    """Stripes or, for half of the seeds, a grid; soft or hard, in two colours."""
    row, column = points(size, draws.device)
    angle = draws.uniform(1, 1, high=math.pi)
    u, v = column * angle.cos() + row * angle.sin(), row * angle.cos() - column * angle.sin()
    period = draws.scale(1, 1, low=0.012, high=0.2)
    ratio, hardness = draws.scale(1, 1, low=0.5, high=4.0), draws.scale(1, 1, low=0.7, high=8.0)
    duty = draws.uniform(1, 1, low=-0.7, high=0.7)
    one = (_wave(u / period + draws.uniform(1, 1)) - duty) * hardness
    other = (_wave(v / (period * ratio)) - duty) * hardness
    grid = torch.maximum(one, other)
    mask = torch.where(draws.chance(0.5, 1, 1), grid, one).tanh()[:, None] / 2 + 0.5
    first, second = draw_plain(draws), draw_plain(draws)
    grain = 1 + power_law(draws, size, 1) * draws.scale(1, 1, 1, low=0.02, high=0.25)
    return ((first * mask + second * (1 - mask)) * grain).clamp(0, 1)


def bricks(draws: Draws, size: Size) -> Pictures:
    """Bricks, tiles or shingles in bond: the lightness differs from brick to brick."""
    row, column = points(size, draws.device)
    angle = draws.normal(1, 1) * 0.15
    u, v = column * angle.cos() + row * angle.sin(), row * angle.cos() - column * angle.sin()
    height, ratio = draws.scale(1, 1, low=0.02, high=0.16), draws.scale(1, 1, low=1.0, high=4.0)
    wobble = power_law(draws, size, 2) * draws.uniform(1, 1, 1, high=0.08)
    v = v / height + wobble[:, 0]
    course = v.floor()
    u = u / (height * ratio) + 0.5 * (course % 2) + wobble[:, 1]
    joint = draws.scale(1, 1, low=0.03, high=0.14)
    gap = torch.minimum((0.5 - (u - u.floor() - 0.5).abs()) * ratio, 0.5 - (v - course - 0.5).abs())
    soft = (1.2 / size[0] / height).clamp_min(joint / 3)
    stone = ((gap - joint) / soft + 0.5).clamp(0, 1)[:, None]
    # A pseudo-random number for each brick.
    place = (u.floor() * 12.9898 + course * 78.233).sin() * 437.5453
    own = (place - place.floor() - 0.5)[:, None]
    color = draw_plain(draws) * (1 + own * draws.uniform(1, 1, 1, low=0.1, high=0.9))
    dirt = 1 + power_law(draws, size, 1) * draws.scale(1, 1, 1, low=0.04, high=0.3)
    mortar = draw_plain(draws) * 0.8
    return ((color * stone + mortar * (1 - stone)) * dirt).clamp(0, 1)


def _wave(turns: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    return (2 * math.pi * turns).sin()
