import torch
from torch import Tensor

from nano.worlds.rendering.raycast import CastScene, trace
from nano.worlds.rendering.surface import CEILING, FLOOR, SKY, WALL_X, WALL_Z, surface_at
from nano.worlds.scene import Worlds

MARCH_STEPS = 400
# The width of the samples.
RADIAN = torch.ones(1, 1, dtype=torch.float64)


def tiny_scene(dome: float = 50.0) -> CastScene:
    """A turned box, a padded box, a cylinder, a sphere, in a turned room."""
    center = [[0.4, 0.1, 2], [1e3, 1e3, 1e3], [-0.6, 0.2, 1.5], [0, -0.4, 1.8], [0.1, -0.5, 0.3]]
    half = [[0.3, 0.4, 0.2], [-1, -1, -1], [0.2, 0.3, 0.2], [0.25, 0.25, 0.25], [2, 1, 3]]
    yaw = [0.5, 0.0, 1.0, -0.7, 0.3]
    worlds = Worlds(
        counts=(2, 1, 1),
        center=torch.tensor([center], dtype=torch.float64),
        half=torch.tensor([half], dtype=torch.float64),
        yaw=torch.tensor([yaw], dtype=torch.float64),
        motion=torch.zeros(1, 5, 11, dtype=torch.float64),
        dome=torch.tensor([dome], dtype=torch.float64),
        materials=torch.zeros(1, 20, 4 + 5, dtype=torch.float64),
        light=torch.zeros(1, 18, dtype=torch.float64),
        scene_from_world=torch.eye(3, dtype=torch.float64)[None],
        focal=torch.ones(1, dtype=torch.float64),
    )
    return worlds.at(torch.tensor([0]), torch.zeros(1, dtype=torch.float64))


def distance(scene: CastScene, points: Tensor) -> Tensor:
    """Distance of points (3, 1, ray) to the nearest surface, solids and shell alike."""
    x, y, z = points[:, :, None].unbind(0)
    solids = [part.shape.distance(part.local((x, y, z)), part.half) for part in scene.parts]
    shell = -scene.shell.shape.distance(scene.shell.local((x, y, z)), scene.shell.half)
    sky = scene.dome[:, None] - points.norm(dim=0)[:, None]
    return torch.cat([*solids, shell, sky], dim=1).amin(1)


def directions(count: int = 600) -> Tensor:
    across = 1.6 * torch.rand(2, 1, count, dtype=torch.float64) - 0.8
    return torch.cat([across, torch.ones(1, 1, count, dtype=torch.float64)])


def test_hits_agree_with_sphere_tracing() -> None:
    """Catches wrong turns, an order of hits that ignores depth, and visible padding."""
    for dome in (50.0, 2.5):
        scene, along = tiny_scene(dome), directions()
        origin = torch.tensor([[0.05], [-0.1], [0.0]], dtype=torch.float64)
        length = along.norm(dim=0)
        marched = torch.zeros_like(length)
        for _ in range(MARCH_STEPS):
            marched = marched + distance(scene, origin[..., None] + marched * along / length)
        hits = trace(scene, origin, along)
        torch.testing.assert_close(hits.t * length, marched, atol=1e-6, rtol=0)
        assert set(hits.solid.unique().tolist()) == {0, 2, 3, 4}


def test_normals_are_the_slope_of_the_distance_and_local_points_are_on_the_solid() -> None:
    """Catches normals of the wrong face, turned the wrong way, or outwards on the shell."""
    scene, along = tiny_scene(), directions()
    origin = torch.zeros(3, 1, dtype=torch.float64)
    hits = trace(scene, origin, along)
    surface = surface_at(scene, origin, along, hits=hits, angle=RADIAN)
    # A step off the surface: at the surface itself the distance has no slope on edges.
    near = (surface.point + 1e-4 * surface.normal).requires_grad_()
    (slope,) = torch.autograd.grad(distance(scene, near).sum(), near)
    agree = (slope - surface.normal).abs().amax(0) < 1e-3
    assert agree.double().mean() > 0.99
    torch.testing.assert_close(
        surface.normal.norm(dim=0), torch.ones_like(hits.t), atol=1e-9, rtol=0
    )
    # Cameras see the front of surfaces.
    assert ((surface.normal * along).sum(0) < 0).all()


def test_materials_follow_the_faces_of_the_shell() -> None:
    """Catches a floor painted as a wall, and a sky that is not where the sphere is."""
    scene = tiny_scene()
    turn = torch.tensor(0.3, dtype=torch.float64)
    along_x = [turn.cos().item(), 0.0, -turn.sin().item()]
    along_z = [turn.sin().item(), 0.0, turn.cos().item()]
    rays = [[0, 1, 0.001], [0, -1, 0.001], along_x, along_z]
    along = torch.tensor(rays, dtype=torch.float64).T[:, None]
    # Above the solids, below the ceiling.
    origin = torch.tensor([[0.0], [-1.2], [0.0]], dtype=torch.float64)
    surface = surface_at(scene, origin, along, hits=trace(scene, origin, along), angle=RADIAN)
    faces = (surface.material - scene.size)[0].tolist()
    assert faces == [FLOOR, CEILING, WALL_X, WALL_Z]
    under = tiny_scene(dome=1.5)
    hits = trace(under, origin, along[..., 2:])
    sky = surface_at(under, origin, along[..., 2:], hits=hits, angle=RADIAN)
    assert sky.is_sky.all()
    assert (sky.material == under.size + SKY).all()


def test_surface_coordinates_are_arc_lengths() -> None:
    """Catches u and v that stretch: a small step on the surface moves them by its length."""
    scene, along = tiny_scene(), directions()
    origin = torch.zeros(3, 1, dtype=torch.float64)
    hits = trace(scene, origin, along)
    first = surface_at(scene, origin, along, hits=hits, angle=RADIAN)
    shifted = along + torch.tensor([1e-5, 7e-6, 0], dtype=torch.float64)[:, None, None]
    other = trace(scene, origin, shifted)
    second = surface_at(scene, origin, shifted, hits=other, angle=RADIAN)
    step = (second.point - first.point).norm(dim=0)
    moved = ((second.u - first.u).square() + (second.v - first.v).square()).sqrt()
    # On spheres v is the height, not an arc; edges between faces jump.
    plain = (hits.solid == other.solid) & (hits.solid != 3)
    good = ((moved - step).abs() < 0.01 * step)[plain]
    assert good.double().mean() > 0.97


def test_widths_are_the_extents_of_a_small_cone() -> None:
    """Catches a footprint that is blurred the wrong way on slanted floors."""
    scene, along = tiny_scene(), directions(300)
    origin = torch.zeros(3, 1, dtype=torch.float64)
    hits = trace(scene, origin, along)
    centre = surface_at(scene, origin, along, hits=hits, angle=RADIAN)
    unit = along / along.norm(dim=0)
    side = torch.linalg.cross(unit, torch.randn_like(unit), dim=0)
    side = side / side.norm(dim=0)
    other_side = torch.linalg.cross(unit, side, dim=0)
    extents = torch.zeros(2, *hits.t.shape, dtype=torch.float64)
    angle, good = 1e-5, torch.ones_like(hits.t, dtype=torch.bool)
    for turn in torch.linspace(0, torch.pi, 64, dtype=torch.float64):
        ray = unit + angle * (turn.cos() * side + turn.sin() * other_side)
        hit = trace(scene, origin, ray)
        place = surface_at(scene, origin, ray, hits=hit, angle=RADIAN)
        good &= (hit.solid == hits.solid) & (place.material == centre.material)
        moved = torch.stack((place.u - centre.u, place.v - centre.v)).abs() / angle
        extents = torch.maximum(extents, moved)
    # Flat faces only, seen not too much along themselves.
    good &= (hits.solid == 4) & ((centre.normal * unit).sum(0) < -0.1)
    assert good.sum() > 50
    for measured, width in zip(extents, centre.widths, strict=True):
        torch.testing.assert_close(measured[good], width[good], rtol=0.02, atol=0)
