"""Pixel values as bytes, and transparent pictures on white."""

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor


def to_uint8(
    frames: Float[Tensor, "*shape"], low: float = -1.0, high: float = 1.0
) -> UInt8[Tensor, "*shape"]:
    """Values in [low, high] as 0 ... 255, clamped and truncated (not rounded), as published."""
    unit = ((frames.float() - low) / (high - low)).clamp(0, 1)
    return (unit * 255).to(torch.uint8)


def round_to_uint8(unit: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Values in [0, 1] as 0 ... 255, clamped and rounded to the nearest."""
    return (unit.clamp(0, 1) * 255).round().to(torch.uint8)


def on_white(rgba: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of straight RGBA on white; truncated and not rounded, as published."""
    alpha, rgb = rgba[..., 3:].astype(np.uint16), rgba[..., :3].astype(np.uint16)
    return ((rgb * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
