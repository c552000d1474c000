"""Videos of a high dynamic range (HLG, PQ) in sRGB.

Signals become display light in units of paper white, 203 cd/m^2 (ITU-R BT.2408):

- PQ (SMPTE ST 2084): `L = 10000 (max(E^(1/m2) - c1, 0) / (c2 - c3 E^(1/m2)))^(1/m1)` cd/m^2.
- HLG (ITU-R BT.2100): scene light `s = E^2 / 3` up to E = 1/2, `(exp((E - c) / a) + b) / 12` above;
  on a display of 1000 cd/m^2 that is `L = 1000 Y^0.2 s`, Y the luminance of s.

BT.2020 becomes BT.709 by the linear matrix; colours outside are clipped. With m the largest of the
three parts, RGB is scaled by f(m) / m: `f(m) = m` up to the knee 0.5, above it
`0.5 + 0.5 (1 - exp(-(m - 0.5) / 0.5))`, which joins without a corner and reaches 1 at infinity. The
result is encoded as sRGB.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8, UInt16

PAPER_WHITE, HLG_PEAK, PQ_PEAK = 203.0, 1000.0, 10000.0
KNEE = 0.5
LUMINANCE = np.array([0.2627, 0.6780, 0.0593], dtype=np.float32)
TO_BT709 = np.array(
    [
        [1.660491, -0.587641, -0.072850],
        [-0.124550, 1.132900, -0.008349],
        [-0.018151, -0.100579, 1.118730],
    ],
    dtype=np.float32,
)
Light = Float[np.ndarray, "h w 3"]
Curve = Callable[[Light], Light]


def _pq_light(signal: Light) -> Light:
    """PQ display light; paper white is 1."""
    m1, m2 = 2610 / 16384, 2523 / 4096 * 128
    c1, c2, c3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
    power = signal ** np.float32(1 / m2)
    ratio = np.maximum(power - c1, 0) / (c2 - c3 * power)
    return (ratio ** np.float32(1 / m1)) * np.float32(PQ_PEAK / PAPER_WHITE)


def _hlg_light(signal: Light) -> Light:
    """HLG display light; paper white is 1."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    luminance = np.maximum(scene @ LUMINANCE, 1e-9)[..., None]
    return scene * luminance ** np.float32(0.2) * np.float32(HLG_PEAK / PAPER_WHITE)


# By FFmpeg's numbers of transfer characteristics.
CURVES: dict[int, Curve] = {16: _pq_light, 18: _hlg_light}


def tone_mapped(signal: UInt16[np.ndarray, "h w 3"], curve: Curve) -> UInt8[np.ndarray, "h w 3"]:
    """A 16-bit BT.2020 signal as bytes in sRGB; `curve` gives its light."""
    light = curve(signal.astype(np.float32) / np.float32(65535))
    light = np.maximum(light @ TO_BT709.T, 0)
    most = np.maximum(light.max(axis=-1, keepdims=True), 1e-9)
    rolled = 1 - (1 - KNEE) * np.exp(-(most - KNEE) / (1 - KNEE))
    light = np.minimum(light * np.where(most > KNEE, rolled / most, 1), 1)
    encoded = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** np.float32(1 / 2.4) - 0.055
    )
    return (encoded * 255 + 0.5).astype(np.uint8)
