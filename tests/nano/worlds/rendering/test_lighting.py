import torch
from torch import Tensor

from nano.worlds.rendering.lighting import _occlusion, develop
from nano.worlds.rendering.raycast import Part
from nano.worlds.shapes import SHAPES, Shape, spread, vectors

COUNT = 3000


def part_of(shape: Shape) -> Part:
    """One solid of the shape, off the origin and turned."""
    half = {"box": [0.3, 0.5, 0.2], "cylinder": [0.3, 0.5, 0.3], "sphere": [0.3, 0.3, 0.3]}
    center = torch.tensor([0.1, -0.2, 0.4], dtype=torch.float64)
    extents = torch.tensor(half[shape.name], dtype=torch.float64)
    yaw = torch.tensor([[[0.6]]], dtype=torch.float64)
    middle, size = (vectors(part.view(3, 1, 1, 1)) for part in (center, extents))
    return Part(shape, 0, middle, size, yaw.cos(), yaw.sin())


def outside_points(part: Part) -> Tensor:
    points = 3 * (torch.rand(3, 1, COUNT, dtype=torch.float64) - 0.5)
    away = part.shape.distance(part.local(spread(points)), part.half)[0, 0] > 0.05
    return points[..., away]


def test_shadows_have_their_outline_exactly_where_the_middle_of_the_lamp_is_hidden() -> None:
    """Catches shadows of the wrong outline, or cast towards the light."""
    for shape in SHAPES:
        part = part_of(shape)
        points = outside_points(part)
        light = torch.randn_like(points)
        light = light / light.norm(dim=0)
        normal = torch.zeros_like(points)
        softness = torch.full((1, 1, 1), 0.1, dtype=torch.float64)
        clear, _ = _occlusion(
            part,
            point=spread(points),
            normal=spread(normal),
            light=spread(light),
            softness=softness,
        )
        steps = torch.linspace(0, 5, 1500, dtype=torch.float64)
        marched = points[..., None] + light[..., None] * steps
        inside = part.shape.distance(part.local(spread(marched.flatten(2))), part.half) < 0
        blocked = inside[0, 0].view(-1, len(steps)).any(1)
        assert ((clear[0, 0] < 0) == blocked).double().mean() > 0.99
        assert 0.01 < blocked.double().mean() < 0.5
        # Far from the solid there is full light, deep behind its middle full shadow.
        assert clear.min() < -1 and clear.max() > 1


def test_contact_shading_fades_with_distance_and_spares_surfaces_that_face_away() -> None:
    """Catches contact shading on the far side or without an end."""
    part = part_of(SHAPES[2])
    gaps = torch.tensor([0.0, 0.02, 0.05, 0.5], dtype=torch.float64)
    points = torch.stack(
        (torch.full_like(gaps, 0.1), -0.2 + 0.3 + gaps, torch.full_like(gaps, 0.4))
    )[:, None]
    up = torch.zeros_like(points)
    up[1] = -1
    softness = torch.full((1, 1, 1), 0.1, dtype=torch.float64)
    place = {"point": spread(points), "light": spread(up), "softness": softness}
    _, facing = _occlusion(part, normal=spread(up), **place)
    _, turned = _occlusion(part, normal=spread(-up), **place)
    assert (facing[0, 0].diff() < 0).all()
    assert facing[0, 0, 0] > 0.9 and facing[0, 0, -1] < 0.01
    assert turned.max() == 0


def test_development_is_monotone_and_within_zero_and_one() -> None:
    """Catches a tone curve that clips or turns around."""
    radiance = torch.linspace(0, 20, 1000, dtype=torch.float64).expand(3, 1, -1)
    color = develop(radiance)
    assert color.min() >= 0 and color.max() <= 1
    assert (color.diff(dim=2) >= 0).all()
    assert 0.35 < develop(torch.full((3, 1, 1), 0.2))[0, 0, 0] < 0.75
