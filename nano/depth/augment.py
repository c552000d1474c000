"""Augmentation of frames towards photographs: lenses, colours, blur, compression, bars.

Pictures are RGB in [0, 1]. Every picture of a batch has random numbers of its own, all from one
generator on the device of the pictures.
"""

import math
from dataclasses import replace
from functools import lru_cache
from typing import TypeAlias

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from .config import DepthAugmentConfig
from .losses import DepthSamples

Pictures: TypeAlias = Float[Tensor, "batch 3 h w"]
# The side of a compressed block in pixels.
BLOCK = 8
# The probability of each change.
GREY, SOFT, NOISY, COMPRESSED, SHADED = 0.08, 0.4, 0.4, 0.3, 0.4


class _Draws:
    """Random numbers for a batch, of shape `size` for each picture."""

    def __init__(self, count: int, generator: torch.Generator) -> None:
        self.count, self.generator, self.device = count, generator, generator.device

    def uniform(self, low: float, high: float, *size: int) -> Float[Tensor, "count ..."]:
        unit = torch.rand(self.count, *size, generator=self.generator, device=self.device)
        return low + (high - low) * unit

    def normal(self, *size: int) -> Float[Tensor, "count ..."]:
        return torch.randn(self.count, *size, generator=self.generator, device=self.device)

    def sometimes(self, chance: float) -> Float[Tensor, "count 1 1 1"]:
        """1 with probability `chance`, otherwise 0."""
        return (self.uniform(0, 1, 1, 1, 1) < chance).float()


def seen_part(
    samples: DepthSamples,
    size: tuple[int, int],
    config: DepthAugmentConfig,
    generator: torch.Generator,
) -> DepthSamples:
    """A random crop of each frame at `size`, mirrored at random; the focal length follows.

    The crop is the largest one of its shape, times a share between `closest` and 1.
    """
    draws = _Draws(len(samples.names), generator)
    # Mostly large crops: long lenses are rare in photographs.
    share = config.closest ** draws.uniform(0, 1).square()
    flip = 1 - 2 * (draws.uniform(0, 1) < 0.5).float()
    shift = draws.uniform(-config.shift, config.shift, 2)
    return _part(samples, size, share=share, flip=flip, shift=shift)


def whole_part(samples: DepthSamples, size: tuple[int, int]) -> DepthSamples:
    """The largest centred crop of each frame, at `size`."""
    one = torch.ones_like(samples.log_focal)
    return _part(samples, size, share=one, flip=one, shift=one.new_zeros(len(one), 2))


def _part(
    samples: DepthSamples,
    size: tuple[int, int],
    *,
    share: Float[Tensor, " batch"],
    flip: Float[Tensor, " batch"],
    shift: Float[Tensor, "batch 2"],
) -> DepthSamples:
    height, width = samples.depth.shape[1:]
    fit = min(height / size[0], width / size[1])
    # The sides of the crop as shares of the frame's.
    sides = share[:, None] * share.new_tensor([fit * size[1] / width, fit * size[0] / height])
    middle = 2 * torch.minimum(shift.abs(), (1 - sides) / 2) * shift.sign()
    grid = _grid(torch.stack([sides[:, 0] * flip, sides[:, 1]], dim=1), middle, size)
    image = F.grid_sample(samples.image, grid, padding_mode="border", align_corners=False)
    depth = samples.depth[:, None].float()
    depth = F.grid_sample(depth, grid, "nearest", padding_mode="border", align_corners=False)
    # In diagonals of the picture, a crop of share s has a focal length 1 / s as long.
    zoom = math.hypot(height, width) / (fit * math.hypot(size[0], size[1])) / share
    log_focal = samples.log_focal + zoom.log()
    return replace(samples, image=image.clamp(0, 1), depth=depth[:, 0], log_focal=log_focal)


def _grid(
    sides: Float[Tensor, "batch 2"], middle: Float[Tensor, "batch 2"], size: tuple[int, int]
) -> Float[Tensor, "batch h w 2"]:
    """The points of the frame, in [-1, 1], for the pixels of a crop.

    (`affine_grid` would multiply matrices with the 10 bits of TF32.)
    """
    count, device = len(sides), sides.device
    y, x = (2 * (torch.arange(n, device=device) + 0.5) / n - 1 for n in size)
    columns = (middle[:, :1] + sides[:, :1] * x)[:, None, :].expand(count, *size)
    rows = (middle[:, 1:] + sides[:, 1:] * y)[:, :, None].expand(count, *size)
    return torch.stack([columns, rows], dim=-1)


def change_colors(image: Pictures, strength: float, generator: torch.Generator) -> Pictures:
    """The same scenes with other light, colours, sharpness and noise; `strength` is in [0, 1]."""
    draws = _Draws(len(image), generator)
    image = _shade(image, draws, strength)
    image = _recolor(image, draws, strength)
    image = _blur(image, draws, strength)
    scale = draws.sometimes(NOISY) * draws.uniform(0, 0.06, 1, 1, 1) * strength
    image = image + scale * draws.normal(*image.shape[1:])
    return _compress(image.clamp(0, 1), draws, strength)


def _recolor(image: Pictures, draws: _Draws, strength: float) -> Pictures:
    """Other hue, saturation, white balance, brightness, contrast and gamma."""
    angle = draws.uniform(-math.pi, math.pi) * strength
    saturation = (1 + strength * (draws.uniform(0, 1.8) - 1)) * (
        1 - draws.sometimes(GREY)[:, 0, 0, 0] * strength
    )
    balance = (0.15 * strength * draws.normal(3, 1)).exp()
    matrix = balance * _about_grey(angle, saturation)
    mixed = torch.einsum("bij,bjhw->bihw", matrix, image)
    gain = (strength * draws.uniform(-0.5, 0.25, 1, 1, 1)).exp()
    contrast = (strength * draws.uniform(-0.4, 0.4, 1, 1, 1)).exp()
    mean = mixed.mean(dim=(1, 2, 3), keepdim=True)
    mixed = gain * (mean + contrast * (mixed - mean))
    gamma = (strength * draws.uniform(-0.5, 0.5, 1, 1, 1)).exp()
    return mixed.clamp(1e-3, 1) ** gamma


def _about_grey(
    angle: Float[Tensor, " batch"], saturation: Float[Tensor, " batch"]
) -> Float[Tensor, "batch 3 3"]:
    """Rotations about the grey axis (Rodrigues), with chroma times `saturation`."""
    grey = torch.full((3, 3), 1 / 3, device=angle.device)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]], device=angle.device)
    cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None] / math.sqrt(3)
    chroma = cos * (torch.eye(3, device=angle.device) - grey) + sin * cross
    return grey + saturation[:, None, None] * chroma


def _shade(image: Pictures, draws: _Draws, strength: float) -> Pictures:
    """Soft shadows and lights that are independent of the surfaces."""
    rows = [
        F.interpolate(draws.normal(1, n, 2 * n), image.shape[2:], mode="bicubic") for n in (3, 8)
    ]
    dark = draws.sometimes(SHADED) * draws.uniform(0, 0.35, 1, 1, 1) * strength
    return image * (dark * (rows[0] + 0.5 * rows[1])).exp()


def _blur(image: Pictures, draws: _Draws, strength: float) -> Pictures:
    """Softened or oversharpened with a box filter of one of two sizes."""
    amount = draws.sometimes(SOFT) * draws.uniform(-0.7, 1, 1, 1, 1) * strength
    small, large = (F.avg_pool2d(image, n, 1, n // 2, count_include_pad=False) for n in (3, 5))
    soft = torch.where(draws.uniform(0, 1, 1, 1, 1) < 0.5, small, large)
    return image + amount * (soft - image)


def _compress(image: Pictures, draws: _Draws, strength: float) -> Pictures:
    """Rounded cosine coefficients of 8 x 8 blocks, as in JPEG, coarser for high frequencies."""
    height, width = image.shape[2:]
    assert height % BLOCK == 0 and width % BLOCK == 0, f"{height}x{width} not in {BLOCK}s"
    cosines = _cosines(image.device)
    blocks = image.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK))
    coefficients = torch.einsum("ui,bcyixj,vj->bcyuxv", cosines, blocks, cosines)
    order = torch.arange(BLOCK, device=image.device, dtype=image.dtype)
    steps = (1 + order[:, None, None] + order) * draws.uniform(0.01, 0.06, 1, 1, 1, 1, 1)
    rounded = (coefficients / steps).round() * steps
    blocks = torch.einsum("ui,bcyuxv,vj->bcyixj", cosines, rounded, cosines)
    amount = draws.sometimes(COMPRESSED) * strength
    found = blocks.flatten(4, 5).flatten(2, 3)
    return (image + amount * (found - image)).clamp(0, 1)


@lru_cache
def _cosines(device: torch.device) -> Float[Tensor, "8 8"]:
    """The orthonormal cosine transform (DCT-II) as a matrix."""
    order = torch.arange(BLOCK, device=device, dtype=torch.float32)
    matrix = torch.cos(math.pi / BLOCK * (order + 0.5) * order[:, None])
    matrix[0] /= math.sqrt(2)
    return matrix * math.sqrt(2 / BLOCK)


def add_borders(samples: DepthSamples, chance: float, generator: torch.Generator) -> DepthSamples:
    """Some pictures with black or blurred bars at opposite sides, where depth is unknown."""
    draws = _Draws(len(samples.names), generator)
    height, width = samples.depth.shape[1:]
    device = samples.depth.device
    rows = ((torch.arange(height, device=device) + 0.5) / height)[None, :, None]
    columns = ((torch.arange(width, device=device) + 0.5) / width)[None, None, :]
    at = torch.where(draws.uniform(0, 1, 1, 1) < 0.5, rows, columns)
    size = draws.uniform(0.03, 0.3, 1, 1) * draws.sometimes(chance)[:, 0]
    bar = torch.minimum(at, 1 - at) < size
    coarse = F.interpolate(samples.image, (4, 6), mode="area")
    soft = F.interpolate(coarse, (height, width), mode="bilinear", align_corners=False)
    fill = soft * (draws.uniform(0, 1, 1, 1, 1) < 0.5)
    image = torch.where(bar[:, None], fill, samples.image)
    return replace(samples, image=image, depth=torch.where(bar, 0.0, samples.depth))
