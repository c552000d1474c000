"""Tests of what is changed of a scene before its export."""

import math

import pytest
import torch

from src.export.editing import EditConfig, contributions, edit_scene, median_depth
from src.gaussians import Gaussians
from src.geometry.cameras import Cameras, quaternion_to_matrix
from src.io.scene import SplatScene
from src.rendering.rasterize import rasterize
from src.runtime import InputError

# Depth and opacity: one behind the camera, one in view, one far and nearly invisible.
DEPTHS = [(-1.0, 1.0), (2.0, 0.5), (50.0, 0.01)]


def scene(count: int = 200) -> SplatScene:
    """Gaussians before the first camera."""
    generator = torch.Generator().manual_seed(1)
    packed = torch.rand(count, 14, generator=generator)
    packed[:, 2] += 1
    gaussians = Gaussians.from_packed(packed)
    unit = torch.nn.functional.normalize(gaussians.quats - 0.5, dim=1)
    parts = (gaussians.means, gaussians.opacities, gaussians.scales, unit, gaussians.colors)
    return SplatScene((Gaussians(*parts),), (0.0,))


def test_faint_and_far_gaussians_are_dropped() -> None:
    """A threshold or a box that is turned round."""
    whole = scene()
    box = (0.2, 0.0, 1.0, 0.8, 0.5, 1.5)
    (left,) = edit_scene(whole, EditConfig(min_opacity=0.3, crop_box=box)).moments
    true = [
        row
        for row in whole.moments[0].packed().tolist()
        if row[3] >= 0.3 and all(box[k] <= row[k] <= box[k + 3] for k in range(3))
    ]
    assert 0 < len(left) < 200
    assert left.packed().tolist() == true


def test_contributions_are_what_a_picture_loses() -> None:
    """Large, near and opaque Gaussians that are dropped before small, far and faint ones."""
    rows = torch.tensor(
        [
            # x y z | opacity | scales | quaternion | colour; all but the first lack something.
            [0.0, 0, 2, 0.5, 0.02, 0.02, 0.02, 1, 0, 0, 0, 0, 0, 0],
            [0.5, 0, 2, 0.2, 0.02, 0.02, 0.02, 1, 0, 0, 0, 0, 0, 0],
            [-0.5, 0, 2, 0.5, 0.01, 0.01, 0.01, 1, 0, 0, 0, 0, 0, 0],
            [0.0, 1, 5, 0.5, 0.02, 0.02, 0.02, 1, 0, 0, 0, 0, 0, 0],
        ]
    )
    gaussians = Gaussians.from_packed(rows)
    intrinsics = torch.tensor([[240.0, 240.0, 128.0, 96.0]])
    cameras = Cameras(torch.eye(4)[None], intrinsics, 256, 192)
    # The alpha that each leaves in a picture by itself.
    seen = [
        float(rasterize(gaussians.map(lambda t, k=k: t[k : k + 1]), cameras).alpha.sum())
        for k in range(4)
    ]
    weight = contributions(gaussians)
    assert weight.argmax() == 0 and torch.tensor(seen).argmax() == 0
    assert weight.argsort().tolist() == torch.tensor(seen).argsort().tolist()


def test_each_moment_keeps_that_many_and_all_are_scaled_alike() -> None:
    """Gaussians counted over all moments; a moving scene that pulsates."""
    near = scene()
    (first,) = near.moments
    later = Gaussians.from_packed(first.packed() + 2 * torch.eye(14)[2])
    moving = SplatScene((first, later), (0.0, 1.0))
    edited = edit_scene(moving, EditConfig(max_gaussians=30, median_depth=6.0))
    assert [len(moment) for moment in edited.moments] == [30, 30] and edited.times == (0.0, 1.0)
    assert math.isclose(median_depth(edited.moments[0]), 6, rel_tol=1e-5)
    (kept,) = edit_scene(near, EditConfig(max_gaussians=30)).moments
    factor = 6 / median_depth(kept)
    (kept,) = edit_scene(SplatScene((later,), (0.0,)), EditConfig(max_gaussians=30)).moments
    assert torch.allclose(edited.moments[1].means, kept.means * factor)


def test_the_median_depth_leaves_out_what_is_behind_or_invisible() -> None:
    """A scene whose unit hangs on floaters that no picture shows."""
    rows = torch.tensor([[0, 0, z, a, 0.1, 0.1, 0.1, 1, 0, 0, 0, 0, 0, 0] for z, a in DEPTHS])
    gaussians = Gaussians.from_packed(rows)
    assert median_depth(gaussians) == 2.0
    with pytest.raises(InputError, match="no Gaussian before the first camera"):
        median_depth(gaussians.map(lambda tensor: tensor[:1]))


def test_the_box_is_in_the_axes_and_the_unit_of_the_source() -> None:
    """A box that is applied after turning or scaling."""
    box = (0.2, 0.0, 1.0, 0.8, 0.5, 1.5)
    (alone,) = edit_scene(scene(), EditConfig(crop_box=box)).moments
    edit = EditConfig(crop_box=box, up="z", median_depth=9.0)
    (both,) = edit_scene(scene(), edit).moments
    assert len(alone) == len(both) and torch.equal(alone.opacities, both.opacities)


def test_the_gaussians_that_contribute_most_stay_in_order() -> None:
    """Those that contribute least stay, or neighbours are torn apart."""
    whole = scene()
    (left,) = edit_scene(whole, EditConfig(max_gaussians=50)).moments
    weight = contributions(whole.moments[0])
    kept = weight >= weight.sort(descending=True).values[49]
    assert torch.equal(left.packed(), whole.moments[0].packed()[kept])


@pytest.mark.parametrize(("up", "row"), [("y", 1), ("z", 2)])
def test_the_up_axis_turns_places_and_shapes_alike(up: str, row: int) -> None:
    """Centres are turned and the ellipsoids are not, or the scene is mirrored."""
    (before,) = scene().moments
    (after,) = edit_scene(scene(), EditConfig(up=up)).moments
    assert torch.allclose(after.means[:, row], -before.means[:, 1])
    old, new = quaternion_to_matrix(before.quats), quaternion_to_matrix(after.quats)
    turn = torch.linalg.lstsq(before.means, after.means).solution.mT
    assert math.isclose(float(torch.linalg.det(turn)), 1, abs_tol=1e-4)
    assert torch.allclose(turn @ old, new, atol=1e-4)


def test_the_median_depth_becomes_the_metres_that_were_asked() -> None:
    """Places are scaled and sizes are not."""
    before = scene()
    after = edit_scene(before, EditConfig(median_depth=6.0))
    assert math.isclose(median_depth(after.moments[0]), 6, rel_tol=1e-5)
    factor = 6 / median_depth(before.moments[0])
    assert torch.allclose(after.moments[0].scales, before.moments[0].scales * factor)


@pytest.mark.parametrize(
    "options",
    [
        {"min_opacity": 1.5},
        {"crop_box": (0, 0, 0, 1, 0, 1)},
        {"max_gaussians": 0},
        {"up": "x"},
        {"median_depth": math.inf},
    ],
)
def test_options_without_meaning_are_refused(options: dict) -> None:
    """An empty file instead of an error."""
    with pytest.raises(InputError, match=next(iter(options))):
        EditConfig(**options)


def test_an_empty_result_is_refused() -> None:
    """A file without Gaussians, which viewers don't open."""
    with pytest.raises(InputError, match="no Gaussian left"):
        edit_scene(scene(), EditConfig(min_opacity=1.0))
