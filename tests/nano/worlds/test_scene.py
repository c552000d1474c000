import pytest
import torch
from torch import Tensor

from nano.worlds.rendering.materials import PATTERNS
from nano.worlds.rendering.raycast import trace
from nano.worlds.scene import PALETTES, World, Worlds, build_worlds, world_cameras
from src.geometry.cameras import compose, invert_rigid
from src.runtime import InputError

EYE_ROOM = 0.08


def solid_distances(worlds: Worlds, points: Tensor, time: float) -> Tensor:
    """Distance of world points (point, 3) to the nearest solid of each world: (world, point)."""
    scene = worlds.at(torch.arange(len(worlds)), torch.full((len(worlds),), time))
    level = compose(worlds.scene_from_world, points.T[None]).permute(1, 0, 2)
    x, y, z = level[:, :, None].unbind(0)
    distances = [p.shape.distance(p.local((x, y, z)), p.half).amin(1) for p in scene.parts]
    return torch.stack(distances).amin(0)


def test_a_world_is_its_seed(still_worlds: Worlds) -> None:
    """Catches draws from a global generator, and layouts that depend on the rest of the batch."""
    again, other = build_worlds([7, 3]), build_worlds([3])
    for seed, batch, row in ((7, again, 0), (3, again, 1), (3, other, 0)):
        torch.testing.assert_close(batch.light[row], still_worlds.light[seed], atol=0, rtol=0)
        torch.testing.assert_close(batch.focal[row], still_worlds.focal[seed], atol=0, rtol=0)
        sizes = [
            w.half[i][(w.half[i] > 0).all(-1)] for w, i in ((batch, row), (still_worlds, seed))
        ]
        torch.testing.assert_close(*sizes, atol=0, rtol=0)
    assert not torch.equal(still_worlds.light[0], still_worlds.light[1])


def test_depth_at_the_picture_centre_is_one(still_worlds: Worlds, moving_worlds: Worlds) -> None:
    """Catches a scale that misses a part of the scene, or is undone by the camera's tilt."""
    for worlds in (still_worlds, moving_worlds):
        count = len(worlds)
        scene = worlds.at(torch.arange(count), torch.zeros(count))
        ahead = worlds.scene_from_world[:, :, 2].T
        depth = trace(scene, torch.zeros_like(ahead), ahead[..., None]).t[:, 0]
        torch.testing.assert_close(depth, torch.ones(count), atol=1e-5, rtol=0)


def test_cameras_have_free_space(
    still_worlds: Worlds, moving_worlds: Worlds, trajectory_poses: Tensor
) -> None:
    """Catches objects on the cameras' paths, at any time of a dynamic world."""
    centres = invert_rigid(trajectory_poses)[:, :3, 3]
    for worlds, times in ((still_worlds, [0.0]), (moving_worlds, torch.linspace(0, 1, 9).tolist())):
        for time in times:
            assert solid_distances(worlds, centres, time).min() > EYE_ROOM
            assert solid_distances(worlds, torch.zeros(1, 3), time).min() > 0.449


def test_cameras_stay_inside_rooms_and_above_the_floor(
    still_worlds: Worlds, trajectory_poses: Tensor
) -> None:
    """Catches a camera behind a wall, from where the shell would look inside out."""
    centres = invert_rigid(trajectory_poses)[:, :3, 3]
    scene = still_worlds.at(torch.arange(len(still_worlds)), torch.zeros(len(still_worlds)))
    level = compose(still_worlds.scene_from_world, centres.T[None]).permute(1, 0, 2)
    x, y, z = level[:, :, None].unbind(0)
    for part, half in zip(scene.shell.local((x, y, z)), scene.shell.half, strict=True):
        assert (half - part.abs()).min() > EYE_ROOM


def test_solids_are_many_and_of_every_kind(still_worlds: Worlds) -> None:
    """Catches a scene generator that leaves most worlds nearly empty or all alike."""
    visible = (still_worlds.half[:, :-1] > 0).all(-1)
    counts = visible.sum(1)
    assert counts.min() >= 2 and counts.max() <= 13
    assert counts.float().mean() > 5.5
    bounds = torch.tensor([0, *still_worlds.counts]).cumsum(0).tolist()
    for start, stop in zip(bounds[:-1], bounds[1:], strict=True):
        assert visible[:, start:stop].any(1).float().mean() > 0.5
    assert set(still_worlds.materials[:, 0].unique().long().tolist()) == set(range(len(PATTERNS)))
    outdoors = (still_worlds.dome < 100).float().mean()
    assert 0.2 < outdoors < 0.7


def test_dynamic_worlds_move_and_start_as_the_still_ones(
    still_worlds: Worlds, moving_worlds: Worlds
) -> None:
    """Catches worlds without motion, and a layout that differs when it is to move."""
    index = torch.arange(len(still_worlds))
    tables = {
        (name, time): worlds.at(index, torch.full((len(index),), time)).table
        for name, worlds in (("still", still_worlds), ("moving", moving_worlds))
        for time in (0.0, 0.3, 0.55)
    }
    torch.testing.assert_close(tables["still", 0.0], tables["moving", 0.0], atol=0, rtol=0)
    torch.testing.assert_close(tables["still", 0.0], tables["still", 0.55], atol=0, rtol=0)
    for time in (0.3, 0.55):
        shift = (tables["moving", time] - tables["moving", 0.0])[:, :3].norm(dim=1)
        assert (shift > 0.005).any(1).float().mean() > 0.8
        # Most of a world stays.
        assert ((shift > 0).sum(1) <= 9).all()
        assert (shift[:, -1] == 0).all()


def test_cameras_are_at_rest_and_see_fifty_to_sixtyfive_degrees(still_worlds: Worlds) -> None:
    """Catches a focal length that does not scale with the picture."""
    small, large = (world_cameras(still_worlds, width, 176) for width in (320, 640))
    torch.testing.assert_close(small.c2w, torch.eye(4).expand(64, 4, 4))
    torch.testing.assert_close(2 * small.intrinsics[:, :2], large.intrinsics[:, :2])
    angle = torch.rad2deg(2 * torch.atan(160 / small.intrinsics[:, 0]))
    assert angle.min() >= 50 and angle.max() <= 65 and angle.std() > 2
    assert (small.intrinsics[:, 2:] == torch.tensor([160.0, 88.0])).all()


def test_trimmed_worlds_are_those_of_a_smaller_batch() -> None:
    """Catches solids cut off, materials of other solids, and a shell that is lost."""
    together = build_worlds(range(5))
    for seed in range(5):
        alone = build_worlds([seed])
        assert alone.sizes() == [together.sizes()[seed]]
        trimmed = together[seed : seed + 1].trimmed(alone.counts)
        for name, value in vars(alone).items():
            assert name == "counts" or torch.equal(getattr(trimmed, name), value), name
    least = together.trimmed(together.sizes()[0])
    assert least.counts == together.sizes()[0]
    with pytest.raises(AssertionError):
        least.trimmed(together.counts)


@pytest.mark.parametrize("palette", PALETTES)
def test_saturation_zero_paints_in_grey(palette: str) -> None:
    """Catches a palette that the saturation does not reach."""
    worlds = build_worlds(range(6), palette=palette, saturation=0.0)
    for colors in worlds.materials[:, 1:7].unflatten(1, (2, 3)).unbind(1):
        assert (colors.amax(1) - colors.amin(1)).max() < 1e-6


def test_palettes_and_saturation_leave_the_geometry(still_worlds: Worlds) -> None:
    """Catches colours that disturb the layout's random numbers."""
    strong = build_worlds(range(4), saturation=1.5)
    for seed in range(4):
        torch.testing.assert_close(strong.focal[seed], still_worlds.focal[seed])
        sizes = [w.half[seed][(w.half[seed] > 0).all(-1)] for w in (strong, still_worlds)]
        torch.testing.assert_close(*sizes)


@pytest.mark.parametrize(
    "arguments",
    [
        {"seed": -1},
        {"seed": 0, "palette": "neon"},
        {"seed": 0, "saturation": -0.1},
        {"seed": 0, "saturation": float("nan")},
    ],
)
def test_bad_worlds_are_refused(arguments: dict) -> None:
    """Catches a value that would fail later, or silently make another world."""
    with pytest.raises(InputError):
        World(**arguments)


def test_an_empty_batch_is_refused() -> None:
    """Catches an obscure error from padding nothing."""
    with pytest.raises(InputError, match="at least one"):
        build_worlds([])
