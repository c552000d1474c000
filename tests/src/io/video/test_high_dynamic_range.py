from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import Float
from video_making import ffmpeg

from src.io.video.tone_mapping import CURVES, PAPER_WHITE, TO_BT709, tone_mapped
from src.io.video.video import read_video

PQ, HLG = 16, 18
NAMES = {PQ: "smpte2084", HLG: "arib-std-b67"}


def pq_signal(light: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
    """The PQ signal of light in cd/m^2, by the inverse formula of ST 2084."""
    power = (light / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375


def shown(signal: float, curve: int) -> int:
    """The byte of a grey of one signal."""
    grey = np.full((1, 1, 3), round(signal * 65535), dtype=np.uint16)
    picture = tone_mapped(grey, CURVES[curve])
    assert picture.min() == picture.max()
    return int(picture[0, 0, 0])


def test_paper_white_is_equally_bright_in_both() -> None:
    """One of the two formulas, or the unit of its light, is wrong: 0.58 and 0.75 are both 203."""
    white = [shown(float(pq_signal(np.array(203.0))), PQ), shown(0.75, HLG)]
    # 0.5 + 0.5 (1 - exp(-1)) = 0.816, which is 233 in sRGB.
    assert white == pytest.approx([233, 233], abs=1)
    assert shown(0, PQ) == shown(0, HLG) == 0
    assert shown(1, PQ) == 255 and shown(1, HLG) > 250


def test_below_the_knee_light_is_kept() -> None:
    """A curve that darkens or brightens the middle tones: 18 % of paper white is sRGB 118."""
    assert shown(float(pq_signal(np.array(0.18 * PAPER_WHITE))), PQ) == pytest.approx(118, abs=1)
    steps = [shown(value, PQ) for value in np.linspace(0, 1, 200)]
    assert steps == sorted(steps)


@pytest.mark.parametrize("curve", [PQ, HLG])
def test_a_colour_of_common_screens_comes_back(tmp_path: Path, curve: int) -> None:
    """HDR videos that look grey: the wide primaries or the curve taken for common ones."""
    colour = np.array([0.4, 0.1, 0.05])
    light = np.linalg.inv(TO_BT709.astype(np.float64)) @ colour
    if curve == PQ:
        signal = pq_signal(light * PAPER_WHITE)
    else:
        display = light * PAPER_WHITE / 1000
        luminance = display @ np.array([0.2627, 0.6780, 0.0593])
        scene = display * luminance ** (1 / 1.2 - 1)
        log = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
        signal = np.where(scene <= 1 / 12, np.sqrt(3 * scene), log)
    raw = tmp_path / "raw"
    raw.write_bytes(np.tile((signal * 65535).astype("<u2"), (2, 32, 64, 1)).tobytes())
    path = tmp_path / "hdr.mp4"
    tags = f"setparams=color_primaries=bt2020:color_trc={NAMES[curve]}:colorspace=bt2020nc"
    ffmpeg(
        *("-f", "rawvideo", "-pix_fmt", "rgb48le", "-s", "64x32", "-r", "24", "-i", raw),
        *("-vf", "scale=out_color_matrix=bt2020:out_range=tv,format=yuv444p10le," + tags),
        *("-c:v", "libx265", "-x265-params", "log-level=none:qp=4", path),
    )
    expected = 255 * (1.055 * colour ** (1 / 2.4) - 0.055)
    found = read_video(path)[0].float().mean(dim=(0, 1))
    assert torch.allclose(found, torch.tensor(expected).float(), atol=3)
