import colorsys

import numpy as np
import pytest

from nano.worlds.palettes import FAMILIES, OBJECT_COLORS, draw_palette, saturate, shade


@pytest.mark.parametrize("name", FAMILIES)
def test_palettes_are_colours_and_their_families_differ(name: str) -> None:
    """Catches colours outside the cube, and a family drawn with another one's ranges."""
    saturations = []
    for seed in range(30):
        palette = draw_palette(np.random.default_rng(seed), name, outdoors=seed % 2 == 0)
        assert len(palette.objects) == OBJECT_COLORS
        for color in (*palette.objects, *palette.walls, palette.ground, palette.zenith):
            assert all(0 <= part <= 1 for part in color), color
        saturations += [colorsys.rgb_to_hsv(*color)[1] for color in palette.objects]
    mean = float(np.mean(saturations))
    low, high = {
        "earth": (0.4, 0.6),
        "pastel": (0.3, 0.5),
        "accent": (0.2, 0.6),
        "vivid": (0.75, 1),
    }[name]
    assert low < mean < high


def test_saturation_zero_is_grey_and_one_changes_nothing() -> None:
    """Catches a knob that also shifts the brightness."""
    color = (0.8, 0.3, 0.1)
    assert saturate(color, 1.0) == pytest.approx(color)
    grey = saturate(color, 0.0)
    assert max(grey) - min(grey) < 1e-12
    assert grey[0] == pytest.approx(0.299 * 0.8 + 0.587 * 0.3 + 0.114 * 0.1)
    strong = saturate(color, 2.0)
    assert strong[0] == 1 and strong[2] == 0


def test_shade_moves_towards_white_and_black() -> None:
    """Catches a flipped sign."""
    assert shade((0.4, 0.4, 0.4), 0.5) == pytest.approx((0.7, 0.7, 0.7))
    assert shade((0.4, 0.4, 0.4), -0.5) == pytest.approx((0.2, 0.2, 0.2))
