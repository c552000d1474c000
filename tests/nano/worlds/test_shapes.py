import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from nano.worlds.shapes import SHAPES, Shape, Vectors

RAYS, STEPS, REACH = 400, 4001, 6.0


def planes(points: Float[Tensor, "*batch 3"]) -> Vectors:
    x, y, z = points.unbind(-1)
    return x, y, z


def random_rays() -> tuple[Tensor, Tensor]:
    start = torch.randn(RAYS, 3, dtype=torch.float64)
    start = 3 * start / start.norm(dim=-1, keepdim=True)
    goal = 1.2 * (2 * torch.rand(RAYS, 3, dtype=torch.float64) - 1)
    along = goal - start
    return start, along / along.norm(dim=-1, keepdim=True)


def half_extents(shape: Shape) -> Tensor:
    half = torch.tensor([0.5, 0.8, 0.3], dtype=torch.float64)
    if shape.name == "box":
        return half
    return half[[0, 1, 0]] if shape.name == "cylinder" else half[[0, 0, 0]]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_interval_agrees_with_marching_through_the_distance(shape: Shape) -> None:
    """Catches a wrong slab or root: the interval is where marched points are inside."""
    start, along = random_rays()
    half = half_extents(shape)
    near, far = shape.interval(planes(start), planes(along), planes(half))
    steps = torch.linspace(0, REACH, STEPS, dtype=torch.float64)
    marched = start[:, None] + steps[:, None] * along[:, None]
    inside = shape.distance(planes(marched), planes(half)) < 0
    hit = near < far
    step = REACH / (STEPS - 1)
    # A graze shorter than a step may slip through the march.
    assert (hit == inside.any(dim=1))[(far - near).abs() > step].all()
    assert 0.1 < hit.double().mean() < 0.9
    first = steps[inside.int().argmax(dim=1)]
    count = inside.sum(dim=1) * step
    long = hit & (far - near > step)
    assert (first - near)[long].abs().max() <= step * 1.001
    assert (count - (far - near))[long].abs().max() <= 2 * step


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_distance_has_unit_slope_and_vanishes_at_the_entry(shape: Shape) -> None:
    """Catches a distance that is scaled, or not zero on the surface."""
    start, along = random_rays()
    half = planes(half_extents(shape))
    near, far = shape.interval(planes(start), planes(along), half)
    entry = (start + near[:, None] * along)[near < far]
    assert shape.distance(planes(entry), half).abs().max() < 1e-9
    outside = start.clone().requires_grad_()
    (slope,) = torch.autograd.grad(shape.distance(planes(outside), half).sum(), outside)
    torch.testing.assert_close(slope.norm(dim=-1), torch.ones(RAYS, dtype=torch.float64))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_negative_extents_are_never_hit(shape: Shape) -> None:
    """Catches padding that becomes visible, as a squared negative radius would."""
    start, along = random_rays()
    padding = planes(torch.full((3,), -1.0, dtype=torch.float64))
    near, far = shape.interval(planes(start), planes(along), padding)
    assert not (near < far).any()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_rays_along_an_axis_are_finite(shape: Shape) -> None:
    """Catches 0 / 0 on rays parallel to a face, such as the default camera's central ray."""
    along = torch.eye(3)
    near, far = shape.interval(
        planes(-2 * along), planes(along), planes(half_extents(shape).float())
    )
    assert (near < far).all()
    expected = 2 - half_extents(shape).float()
    torch.testing.assert_close(near, expected)
