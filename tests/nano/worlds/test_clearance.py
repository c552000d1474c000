from dataclasses import replace

import numpy as np
import pytest

from nano.worlds import scene
from nano.worlds.clearance import camera_paths, is_clear, scene_from_world
from nano.worlds.layout import Layout, Motion
from nano.worlds.scene import World

TIMES = np.linspace(0, 1, 41)


def layouts(count: int) -> list[Layout]:
    """Animated first attempts, scaled by nothing: what `set_in_motion` makes of them."""
    return [World(seed, dynamic=True).animated(World(seed).draft(0)) for seed in range(count)]


def test_moving_things_stay_apart() -> None:
    """Catches motions that carry things through each other or through walls."""
    for layout in layouts(16):
        tracks = [
            np.array([thing.x, 0, thing.z]) + thing.motion.offsets(TIMES)
            for thing in layout.standing
        ]
        for i, first in enumerate(layout.standing):
            shell = layout.surroundings.shell
            level = tracks[i] * [1, 0, 1] + [0, shell.center[1], 0]
            assert shell.contains(level, first.prop.radius - 1e-3)
            for j in range(i):
                between = np.hypot(*(tracks[i] - tracks[j])[:, [0, 2]].T)
                assert between.min() > first.prop.radius + layout.standing[j].prop.radius - 1e-3


def test_things_stand_on_the_floor() -> None:
    """Catches things that float or sink: the lowest point of each is the floor's height."""
    for seed in range(16):
        layout = World(seed).draft(0)
        for thing in layout.standing:
            lowest = min(solid.center[1] - solid.half[1] for solid in thing.prop.solids)
            assert abs(lowest) < 1e-9
            assert thing.prop.height > 0.05


def test_paths_reach_as_far_as_the_published_trajectories() -> None:
    """Catches free space that is narrower than the cameras' paths, or forgets the tilt."""
    paths = camera_paths()
    assert paths[:, 0].min() < -0.45 and paths[:, 0].max() > 0.45
    assert paths[:, 1].min() < -0.25
    assert paths[:, 2].min() < -0.5 and paths[:, 2].max() > 0.4
    turn = scene_from_world(0.3)
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-12)
    # The camera looks down: its forward axis has a part along the scene's y, which points down.
    np.testing.assert_allclose(turn @ [0, 0, 1], [0, np.sin(0.3), np.cos(0.3)])


def test_worlds_are_drawn_again_until_they_are_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    """Catches a batch that keeps a first draft although cameras have no room in it."""
    answers = iter([True, False, False, True, True])
    monkeypatch.setattr(scene, "is_clear", lambda layout: next(answers))
    worlds = scene.build_worlds([3, 4, 5])
    # First all three are drafted, then 4 and 5 again.
    drafts = [World(3).draft(0), World(4).draft(1), World(5).draft(1)]
    focal = [0.5 / np.tan(draft.field_of_view / 2) for draft in drafts]
    np.testing.assert_allclose(worlds.focal.numpy(), focal, rtol=1e-6)


def test_layouts_with_something_in_the_way_are_not_clear() -> None:
    """Catches a check that looks at the wrong height or forgets motions."""
    layout = next(
        draft for draft in (World(seed).draft(0) for seed in range(50)) if is_clear(draft)
    )
    hero = layout.standing[0]
    for thing in (
        replace(hero, z=hero.prop.radius + 0.3),
        replace(hero, motion=Motion(sine=(0.0, 0.0, -0.7), rate=0.5)),
    ):
        assert not is_clear(replace(layout, standing=(thing, *layout.standing[1:])))
