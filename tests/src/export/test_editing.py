"""Tests of what is changed of a scene before its export."""

import math

import pytest
import torch

from src.export.editing import EditConfig, contributions, edit_scene, median_depth
from src.gaussians import Gaussians
from src.geometry.cameras import quaternion_to_matrix
from src.io.ply.scene import SplatScene
from src.runtime import InputError


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
