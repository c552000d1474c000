"""Transparent pictures on white."""

import numpy as np
from jaxtyping import UInt8


def on_white(rgba: UInt8[np.ndarray, "h w 4"]) -> UInt8[np.ndarray, "h w 3"]:
    """RGB of straight RGBA on white; truncated and not rounded, as published."""
    alpha, rgb = rgba[..., 3:].astype(np.uint16), rgba[..., :3].astype(np.uint16)
    return ((rgb * alpha + 255 * (255 - alpha)) // 255).astype(np.uint8)
