import math

import numpy as np
import torch

from nano.worlds.palettes import draw_palette
from nano.worlds.rendering.materials import OBJECTS, PATTERNS, Material, Painter
from nano.worlds.rendering.surface import Surface
from nano.worlds.rendering.textures import noise_volume, paint


def painter(seed: int, saturation: float = 1.0) -> Painter:
    rng = np.random.default_rng(seed)
    return Painter(rng, draw_palette(rng, "vivid", outdoors=False), saturation)


def rendered(material: Material, points: torch.Tensor, factor: float) -> torch.Tensor:
    """Colours at local points on a vertical face, every length scaled by `factor`."""
    row = torch.tensor(material.scaled(factor).row(), dtype=torch.float64)
    local = (points * factor)[:, None]
    rays = local.shape[1:]
    width = torch.full(rays, 0.003 * factor, dtype=torch.float64)
    materials = row[None, :, None].expand(1, -1, rays[1])
    volume = noise_volume(torch.device("cpu")).double()
    flat = torch.zeros(rays, dtype=torch.bool)
    surface = Surface(
        point=local,
        normal=local,
        local=local,
        u=local[0],
        v=local[1],
        widths=(width, width),
        material=flat.long(),
        is_sky=flat,
        is_sphere=flat,
        radius=torch.zeros_like(width),
    )
    return paint(materials, surface, volume)[0]


def test_scaled_materials_look_the_same_on_a_scaled_scene() -> None:
    """Catches a length that the normalisation of the scene's depth forgets."""
    draw = painter(3)
    points = torch.rand(3, 200, dtype=torch.float64) - 0.5
    seen = set()
    for _ in range(60):
        material = draw.draw(OBJECTS, draw.item(), mixing=0.3)
        seen.add(material.pattern)
        torch.testing.assert_close(
            rendered(material, points, 0.6), rendered(material, points, 1.0), atol=1e-6, rtol=0
        )
    assert seen == set(PATTERNS) - {"sky"}


def test_stripes_close_around_a_cylinder() -> None:
    """Catches a seam where the angle jumps from pi to -pi."""
    draw = painter(5)
    stripes = [m for m in (draw.round(0.13, 0.2) for _ in range(200)) if m.pattern == "stripes"]
    assert stripes
    for material in stripes:
        repeats = 2 * math.pi * 0.13 * material.frequency
        assert abs(repeats - round(repeats)) < 1e-9 and round(repeats) >= 3


def test_saturation_reaches_every_colour() -> None:
    """Catches a colour that bypasses the knob."""
    draw = painter(7, saturation=0.0)
    for _ in range(50):
        material = draw.flat(0.1)
        for color in (material.a, material.b):
            assert max(color) - min(color) < 1e-9
